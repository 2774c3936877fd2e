package node

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"orrery.example.org/node/status"
)

// report writes the Pod's status, if it changed, and deletes the object when the Pod
// was asked to go and is over.
func (p *pod) report(ctx context.Context, over bool) error {
	object := p.latest()
	if p.isGone() {
		return nil
	}
	if !isMirror(object) {
		var err error
		if object, err = p.patchStatus(ctx, object, over); err != nil {
			return err
		}
	}
	if object.DeletionTimestamp == nil || !over || p.deleteSent {
		return nil
	}
	// Grace 0 is how an agent says that a Pod has ended: only then does the object
	// go. The uid makes sure that a new Pod of that name is not meant.
	err := p.node.client.CoreV1().Pods(object.Namespace).Delete(ctx, object.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64),
		Preconditions:      metav1.NewUIDPreconditions(string(object.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return wrap(err, "delete")
	}
	p.deleteSent = true // finalizers may keep the object a while longer
	return nil
}

// patchStatus sends what changed in the status. It returns the newest object.
func (p *pod) patchStatus(ctx context.Context, object *corev1.Pod, over bool) (*corev1.Pod, error) {
	if final(object) && over {
		return object, nil // reported for good, maybe by an earlier run of the agent
	}
	o := p.outcome()
	o.Over = over
	next := status.Pod(object, o, metav1.Now())
	if equality.Semantic.DeepEqual(next, object.Status) {
		return object, nil
	}
	// The uid in the patch makes it fail on another Pod of that name.
	identity := metav1.ObjectMeta{UID: object.UID}
	patch, err := twoWayPatch(&corev1.Pod{Status: object.Status}, &corev1.Pod{ObjectMeta: identity, Status: next})
	if err != nil {
		return nil, err
	}
	if string(patch) == fmt.Sprintf(`{"metadata":{"uid":%q}}`, object.UID) {
		return object, nil // they differ by fractions of a second, which JSON does not have
	}
	patched, err := p.node.client.CoreV1().Pods(object.Namespace).Patch(ctx, object.Name,
		types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return object, nil // it is gone; the watch will say so
	}
	if err != nil {
		return nil, wrap(err, "patch status")
	}
	if newest := p.latest(); newest.ResourceVersion == patched.ResourceVersion {
		return newest, nil // the watch was faster; there need not be two copies
	}
	patched.ManagedFields = nil
	return p.take(patched), nil
}

// outcome is what the Pod has come to.
func (p *pod) outcome() status.Outcome {
	p.mu.Lock()
	o := status.Outcome{
		SandboxUp: p.box != nil, HostIPs: p.node.cfg.NodeIP, Started: p.started, Rejected: p.rejected, Overdue: p.overdue,
	}
	o.PodIPs = texts(p.addrs)
	p.mu.Unlock()
	for _, c := range p.init {
		o.Init = append(o.Init, c.current())
	}
	for _, c := range p.main {
		o.Containers = append(o.Containers, c.current())
	}
	for _, c := range p.debuggers() {
		o.Ephemeral = append(o.Ephemeral, c.current())
	}
	return o
}

// olderThan compares two versions of an object.
func olderThan(a, b *corev1.Pod) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order < 0
}
