package node

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"orrery.example.org/node/status"
)

// pace is the time until the next try: short at first, since the API server may be
// starting at this moment, then doubled up to upstream's longest.
type pace time.Duration

func (p *pace) next() time.Duration {
	*p = min(max(*p*2, pace(20*time.Millisecond)), pace(7*time.Second))
	return time.Duration(*p)
}

// register makes the Node object, or takes over the one that is there.
func (n *Node) register(ctx context.Context) error {
	want := n.cfg.node(n.facts, metav1.Now())
	for retry := pace(0); ; {
		err := n.createOrAdopt(ctx, want)
		if err == nil {
			n.nodeEvent("Starting", "Starting kubelet.")
			return nil
		}
		n.cfg.Log.Info("registering the node, will try again", "err", err)
		select {
		case <-time.After(retry.next()):
		case <-ctx.Done():
			return errStopped
		}
	}
}

// registerAgain makes the Node object anew after somebody deleted it, with the share of
// the Pod network that the node goes on using.
//
// Kubernetes: kubelet registers when it starts, and stays unknown to the API after such
// a deletion until it is restarted.
func (n *Node) registerAgain(ctx context.Context) error {
	want := n.cfg.node(n.facts, metav1.Now())
	for _, prefix := range n.network.Pools.Prefixes() {
		want.Spec.PodCIDRs = append(want.Spec.PodCIDRs, prefix.String())
	}
	want.Spec.PodCIDR = want.Spec.PodCIDRs[0]
	n.cfg.Log.Info("the node was deleted, registering it again")
	return wrap(n.createOrAdopt(ctx, want), "register again")
}

func (n *Node) createOrAdopt(ctx context.Context, want *corev1.Node) error {
	self, err := n.client.CoreV1().Nodes().Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		self, err = n.client.CoreV1().Nodes().Get(ctx, want.Name, metav1.GetOptions{})
		if err == nil {
			self, err = n.patchNode(ctx, self, withOwn(self, want))
		}
	}
	if err == nil {
		self, err = n.patchNodeStatus(ctx, self, want.Status)
	}
	if err != nil {
		return err
	}
	n.self.Store(self)
	return nil
}

// patchNode sends the difference between two versions of the Node; none is nothing.
func (n *Node) patchNode(ctx context.Context, old, new *corev1.Node, subresources ...string) (*corev1.Node, error) {
	patch, err := twoWayPatch(old, new)
	if err != nil || string(patch) == "{}" {
		return old, err
	}
	return n.client.CoreV1().Nodes().Patch(ctx, old.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, subresources...)
}

func (n *Node) patchNodeStatus(ctx context.Context, old *corev1.Node, report corev1.NodeStatus) (*corev1.Node, error) {
	new := old.DeepCopy()
	new.Status = status.MergeNode(old.Status, report)
	return n.patchNode(ctx, old, new, "status")
}

// twoWayPatch is the strategic merge patch that makes new from old.
func twoWayPatch[T any](old, new *T) ([]byte, error) {
	oldJSON, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	newJSON, err := json.Marshal(new)
	if err != nil {
		return nil, err
	}
	var schema T
	return strategicpatch.CreateTwoWayMergePatch(oldJSON, newJSON, schema)
}

// withOwn adds the labels and annotations that the agent gives its Node.
func withOwn(node, own *corev1.Node) *corev1.Node {
	node = node.DeepCopy()
	for k, v := range own.Labels {
		metav1.SetMetaDataLabel(&node.ObjectMeta, k, v)
	}
	for k, v := range own.Annotations {
		metav1.SetMetaDataAnnotation(&node.ObjectMeta, k, v)
	}
	return node
}

// node is the Node object as the agent first sends it: not yet Ready.
func (c Config) node(f facts, now metav1.Time) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.Name, Labels: map[string]string{
		corev1.LabelHostname: c.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: f.info.Architecture,
	}}}
	for _, label := range c.Labels {
		k, v, _ := strings.Cut(label, "=")
		node.Labels[k] = v
	}
	if f.limits != "" {
		node.Annotations = map[string]string{limitsAnnotation: f.limits}
	}
	node.Status = c.nodeStatus(f, false, now)
	return node
}

// nodeStatus is the status that the agent reports.
func (c Config) nodeStatus(f facts, ready bool, now metav1.Time) corev1.NodeStatus {
	resources := corev1.ResourceList{corev1.ResourcePods: *quantity(int64(c.MaxPods))}
	maps.Copy(resources, f.resources)
	s := corev1.NodeStatus{
		Capacity:        resources,
		Allocatable:     resources,
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(c.Port)}},
		NodeInfo:        f.info,
		Conditions:      status.NodeConditions(ready, now),
	}
	for _, address := range c.NodeIP {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: c.Name})
	for _, image := range c.Images {
		s.Images = append(s.Images, corev1.ContainerImage{Names: []string{imageID(image, image.Command), image.Name}})
	}
	return s
}
