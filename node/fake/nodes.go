package fake

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"orrery.example.org/node/network"
	"orrery.example.org/node/status"
)

// fake is one of the nodes.
type fake struct {
	name   string
	events record.EventRecorder

	// Written by one worker at a time, under Nodes.mu.
	pool   *network.Pool // of the first of ranges; nil: it has none yet
	ranges []string      // its podCIDRs
	uid    types.UID     // of the Node
	known  bool          // it was reported as Ready
}

func (n *Nodes) nodeHandler() cache.ResourceEventHandler {
	changed := func(obj any) {
		if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = unknown.Obj
		}
		if name := obj.(*corev1.Node).Name; n.names[name] != nil {
			n.nodeWork.Add(name)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, obj any) { changed(obj) }, DeleteFunc: changed}
}

// syncNode makes one Node what it should be: registered, then, with addresses for its
// Pods, Ready.
func (n *Nodes) syncNode(ctx context.Context, name string) error {
	f := n.names[name]
	self, err := n.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		return n.register(ctx, f)
	}
	if err != nil || self.Spec.PodCIDR == "" {
		return err // the watch tells when it has one
	}
	if err := n.join(f, self); err != nil {
		return err
	}
	next := status.MergeNode(self.Status, n.cfg.status(name, true, metav1.Now()))
	if due(self.Status, n.cfg.StatusInterval) || !status.SameNode(self.Status, next) {
		_, err = n.client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch(self, next), metav1.PatchOptions{}, "status")
		if err != nil && !apierrors.IsConflict(err) { // otherwise there is a newer one, which the watch brings
			return fmt.Errorf("report the status of node %s: %w", name, err)
		}
	}
	if n.reported(f) {
		return n.renewLease(ctx, f) // the next one comes in its turn
	}
	return nil
}

// register makes the Node, or labels one of that name. The watch shows it then.
func (n *Nodes) register(ctx context.Context, f *fake) error {
	node := n.cfg.node(f.name, metav1.Now())
	n.mu.Lock()
	if f.pool != nil { // somebody deleted it; it keeps its addresses
		node.Spec.PodCIDR, node.Spec.PodCIDRs = f.ranges[0], f.ranges
	}
	n.mu.Unlock()
	_, err := n.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = n.client.CoreV1().Nodes().Patch(ctx, f.name, types.StrategicMergePatchType,
			must(json.Marshal(map[string]any{"metadata": map[string]any{"labels": node.Labels}})), metav1.PatchOptions{})
	}
	if err != nil {
		return fmt.Errorf("register node %s: %w", f.name, err)
	}
	return nil
}

// join takes the addresses of the node's range into use, but for those that its Pods have.
func (n *Nodes) join(f *fake, self *corev1.Node) error {
	prefix, err := netip.ParsePrefix(self.Spec.PodCIDR)
	if err != nil {
		return fmt.Errorf("podCIDR of node %s: %w", f.name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f.uid = self.UID
	if f.pool != nil && f.pool.Prefix() == prefix.Masked() {
		return nil
	}
	pool, err := network.NewPool(prefix, "")
	if err != nil {
		return fmt.Errorf("node %s: %w", f.name, err)
	}
	here, err := n.pods.ByIndex(byNode, f.name)
	if err != nil {
		return err
	}
	for _, obj := range here {
		n.tenant(obj.(*corev1.Pod)).keep(obj.(*corev1.Pod), pool)
	}
	f.pool, f.ranges = pool, []string{self.Spec.PodCIDR}
	if len(self.Spec.PodCIDRs) > 0 {
		f.ranges = self.Spec.PodCIDRs
	}
	return nil
}

// reported notes that the node is Ready, and says whether it is for the first time.
func (n *Nodes) reported(f *fake) (first bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.known {
		return false
	}
	f.known = true
	ref := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: f.name, UID: types.UID(f.name)}
	f.events.Event(ref, corev1.EventTypeNormal, "NodeReady", "Node "+f.name+" status is now: NodeReady")
	if n.unready--; n.unready == 0 {
		close(n.ready)
	}
	return true
}

// due says whether a status that has not changed is to be reported again.
func due(s corev1.NodeStatus, interval time.Duration) bool {
	for _, c := range s.Conditions {
		if c.Type == corev1.NodeReady {
			return time.Since(c.LastHeartbeatTime.Time) >= interval
		}
	}
	return true
}

// keepLeases renews the Leases one after the other, so that they are spread over the
// interval.
func (n *Nodes) keepLeases(ctx context.Context) error {
	tick := time.NewTicker(n.cfg.RenewInterval / time.Duration(len(n.fakes)))
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % len(n.fakes) {
		if err := n.renewLease(ctx, n.fakes[i]); err != nil && ctx.Err() == nil {
			n.cfg.Log.Info("renewing a fake node's lease, will try again", "node", n.fakes[i].name, "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// renewLease writes a Lease with the present time, and makes it where there is none. It is
// nobody else's, so that what was written last does not matter.
func (n *Nodes) renewLease(ctx context.Context, f *fake) error {
	n.mu.Lock()
	uid, joined := f.uid, f.pool != nil
	n.mu.Unlock()
	if !joined {
		return nil
	}
	leases := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	spec := coordinationv1.LeaseSpec{
		HolderIdentity:       &f.name,
		LeaseDurationSeconds: ptr.To(int32(n.cfg.LeaseDuration / time.Second)),
		RenewTime:            &metav1.MicroTime{Time: time.Now()},
	}
	_, err := leases.Patch(ctx, f.name, types.MergePatchType, must(json.Marshal(map[string]any{"spec": spec})), metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(ctx, &coordinationv1.Lease{Spec: spec, ObjectMeta: metav1.ObjectMeta{
			Name: f.name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: f.name, UID: uid}},
		}}, metav1.CreateOptions{})
	}
	return err
}

// node is a Node as it is first sent: not yet Ready.
func (c Config) node(name string, now metav1.Time) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH, TypeLabel: TypeFake,
	}}}
	for _, label := range c.Labels {
		k, v, _ := strings.Cut(label, "=")
		node.Labels[k] = v
	}
	node.Status = c.status(name, false, now)
	return node
}

// resources are what a node claims to have.
func (c Config) resources() (corev1.ResourceList, error) {
	cpu, err := resource.ParseQuantity(c.CPU)
	if err != nil {
		return nil, fmt.Errorf("cpu %q: %w", c.CPU, err)
	}
	memory, err := resource.ParseQuantity(c.Memory)
	if err != nil {
		return nil, fmt.Errorf("memory %q: %w", c.Memory, err)
	}
	return corev1.ResourceList{
		corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory, corev1.ResourcePods: *resource.NewQuantity(int64(c.MaxPods), resource.DecimalSI),
	}, nil
}

// status is what a node reports.
func (c Config) status(name string, ready bool, now metav1.Time) corev1.NodeStatus {
	resources := must(c.resources()) // validated
	return corev1.NodeStatus{
		Capacity:    resources,
		Allocatable: resources,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: c.Address}, {Type: corev1.NodeHostName, Address: name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(c.Port)}},
		NodeInfo: corev1.NodeSystemInfo{
			OSImage: "simulated", ContainerRuntimeVersion: "fake://0", KubeletVersion: "fake",
			OperatingSystem: "linux", Architecture: runtime.GOARCH,
		},
		Conditions: status.NodeConditions(ready, now),
	}
}

// patch is the strategic merge patch that writes a status to just this version of an
// object. On any other it fails.
func patch(object metav1.Object, status any) []byte {
	return must(json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion()}, "status": status,
	}))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // of our own types
	}
	return v
}
