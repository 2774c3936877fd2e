package fake

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/node/network"
)

// tenant is what is known of a Pod beside the object.
type tenant struct {
	addr netip.Addr
	pool *network.Pool // which addr is of; nil: it has none
	seen string        // resourceVersion that our last write made
}

var errNoAddresses = errors.New("the node has no podCIDR yet")

func (n *Nodes) podHandler() cache.ResourceEventHandler {
	changed := func(pod *corev1.Pod) {
		if n.names[pod.Spec.NodeName] != nil {
			n.podWork.Add(cache.MetaObjectToName(pod))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { changed(obj.(*corev1.Pod)) },
		UpdateFunc: func(old, obj any) {
			// A watch that was interrupted shows a Pod that was replaced as an update.
			if o := old.(*corev1.Pod); o.UID != obj.(*corev1.Pod).UID {
				n.moveOut(o.UID)
			}
			changed(obj.(*corev1.Pod))
		},
		DeleteFunc: func(obj any) {
			if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			n.moveOut(obj.(*corev1.Pod).UID)
		},
	}
}

// syncPod does for one Pod what its node would do.
func (n *Nodes) syncPod(ctx context.Context, name cache.ObjectName) error {
	obj, exists, err := n.pods.GetByKey(name.String())
	if err != nil || !exists {
		return err
	}
	pod := obj.(*corev1.Pod)
	f := n.names[pod.Spec.NodeName]
	if f == nil || pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		return nil
	}
	podIP, current, err := n.moveIn(f, pod)
	if err != nil || !current {
		return err
	}
	s := play(pod, podIP, n.cfg.Address, metav1.Now())
	switch {
	case s.remove:
		return n.remove(ctx, f, pod)
	case s.status != nil:
		if err := n.report(ctx, pod, s.status); err != nil {
			return err
		}
		f.tell(pod, s.starts)
	}
	if final(pod) {
		n.moveOut(pod.UID)
	}
	if s.again > 0 {
		n.podWork.AddAfter(name, s.again)
	}
	return nil
}

// moveIn gives the Pod an address, or finds the one it has. A copy of the Pod that is older
// than our own last write is not current: the watch will bring another one.
func (n *Nodes) moveIn(f *fake, pod *corev1.Pod) (podIP string, current bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.pool == nil {
		return "", false, errNoAddresses
	}
	t := n.tenant(pod)
	if t.seen != "" {
		if order, err := resourceversion.CompareResourceVersion(pod.ResourceVersion, t.seen); err == nil && order < 0 {
			return "", false, nil
		}
	}
	switch {
	case pod.Spec.HostNetwork:
		return n.cfg.Address, true, nil
	case final(pod) || pod.DeletionTimestamp != nil:
		return pod.Status.PodIP, true, nil
	case !t.addr.IsValid():
		if t.addr, err = f.pool.Allocate(); err != nil {
			return "", false, fmt.Errorf("Pod %s/%s on %s: %w", pod.Namespace, pod.Name, f.name, err)
		}
		t.pool = f.pool
	}
	return t.addr.String(), true, nil
}

// tenant is the Pod's. n.mu is held.
func (n *Nodes) tenant(pod *corev1.Pod) *tenant {
	t := n.tenants[pod.UID]
	if t == nil {
		t = &tenant{}
		n.tenants[pod.UID] = t
	}
	return t
}

// keep takes the address that a Pod has from an earlier run out of the pool.
func (t *tenant) keep(pod *corev1.Pod, pool *network.Pool) {
	addr, err := netip.ParseAddr(pod.Status.PodIP)
	if err == nil && !final(pod) && !pod.Spec.HostNetwork && pool.Reserve(addr) {
		t.addr, t.pool = addr, pool
	}
}

// moveOut forgets a Pod that is gone or has ended, and frees its address.
func (n *Nodes) moveOut(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.tenants[uid]; t != nil && t.pool != nil {
		t.pool.Release(t.addr)
	}
	delete(n.tenants, uid)
}

// report writes a status.
func (n *Nodes) report(ctx context.Context, pod *corev1.Pod, status *corev1.PodStatus) error {
	written, err := n.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType,
		patch(pod, explicit(status)), metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is gone or there is a newer one; the watch will say so
	}
	if err != nil {
		return fmt.Errorf("report the status of Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.tenants[pod.UID]; t != nil {
		t.seen = written.ResourceVersion
	}
	return nil
}

// explicit is a status for a patch that merges conditions: a reason that they no longer
// have is in it, too.
func explicit(s *corev1.PodStatus) any {
	type condition struct {
		corev1.PodCondition `json:",inline"`
		Reason              string `json:"reason"`
		Message             string `json:"message"`
	}
	written := struct {
		corev1.PodStatus `json:",inline"`
		Conditions       []condition `json:"conditions"`
	}{PodStatus: *s}
	for _, c := range s.Conditions {
		written.Conditions = append(written.Conditions, condition{c, c.Reason, c.Message})
	}
	return written
}

// remove deletes the object of a Pod that has ended: grace 0 is how a node says so.
func (n *Nodes) remove(ctx context.Context, f *fake, pod *corev1.Pod) error {
	err := n.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil {
			f.events.Event(containerRef(pod, "containers", c.Name), corev1.EventTypeNormal, "Killing", "Stopping container "+c.Name)
		}
	}
	return nil
}

// tell shows the start of containers in events, as an agent does.
func (f *fake) tell(pod *corev1.Pod, starts []corev1.Container) {
	for i, c := range starts {
		list := "containers"
		if i < len(pod.Spec.InitContainers) {
			list = "initContainers"
		}
		ref := containerRef(pod, list, c.Name)
		f.events.Event(ref, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", c.Image))
		f.events.Event(ref, corev1.EventTypeNormal, "Created", "Container created")
		f.events.Event(ref, corev1.EventTypeNormal, "Started", "Container started")
	}
}

func containerRef(pod *corev1.Pod, list, container string) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: "spec." + list + "{" + container + "}",
	}
}
