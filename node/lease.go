package node

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// keepLease renews the node's Lease: its heartbeat, which is small where the Node's
// status is large. nodelifecycle gives up on a node whose Lease it saw no
// renewal of for LeaseDuration.
func (n *Node) keepLease(ctx context.Context) error {
	var lease *coordinationv1.Lease // as last written; nil: not known
	for retry := pace(0); ; {
		pause := n.cfg.RenewInterval
		renewed, err := n.renewLease(ctx, lease, n.self.Load())
		if err == nil {
			lease, retry = renewed, 0
		} else if lease = nil; ctx.Err() == nil {
			n.cfg.Log.Info("renewing the node's lease, will try again", "err", err)
			pause = min(pause, retry.next())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// renewLease writes the Lease with the present time. It starts from the last written
// one; where another writer got in between (409) or it is gone, it looks again.
func (n *Node) renewLease(ctx context.Context, last *coordinationv1.Lease, self *corev1.Node) (*coordinationv1.Lease, error) {
	leases := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	if last != nil {
		renewed, err := leases.Update(ctx, n.lease(last, self), metav1.UpdateOptions{})
		if err == nil || !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return renewed, wrap(err, "update lease")
		}
	}
	found, err := leases.Get(ctx, n.cfg.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		made, err := leases.Create(ctx, n.lease(&coordinationv1.Lease{}, self), metav1.CreateOptions{})
		return made, wrap(err, "create lease")
	}
	if err != nil {
		return nil, wrap(err, "get lease")
	}
	renewed, err := leases.Update(ctx, n.lease(found, self), metav1.UpdateOptions{})
	return renewed, wrap(err, "update lease")
}

// lease is from with the node's claim in it.
func (n *Node) lease(from *coordinationv1.Lease, self *corev1.Node) *coordinationv1.Lease {
	lease := from.DeepCopy()
	lease.Name, lease.Namespace = n.cfg.Name, corev1.NamespaceNodeLease
	lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: self.Name, UID: self.UID}}
	lease.Spec.HolderIdentity = &n.cfg.Name
	lease.Spec.LeaseDurationSeconds = ptr.To(int32(n.cfg.LeaseDuration / time.Second))
	lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
	return lease
}

func wrap(err error, what string) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
