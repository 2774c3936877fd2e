package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/api"
	"orrery.example.org/node/status"
)

// watchPods runs the Pods that are bound to this node, each in a goroutine of its
// own, until ctx is cancelled and the last of them has cleaned up.
func (n *Node) watchPods(ctx context.Context) error {
	mine := fields.OneTermEqualSelector("spec.nodeName", n.cfg.Name).String()
	watchCtx, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithTransform(slim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = mine }))
	informer := factory.Core().V1().Pods().Informer()
	everyones := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithTransform(slim))
	n.services = everyones.Core().V1().Services()
	n.services.Informer() // so that the factory starts it
	defer func() {
		cancel()
		factory.Shutdown()
		everyones.Shutdown()
		n.waitForPods()
	}()
	factory.StartWithContext(watchCtx)
	everyones.StartWithContext(watchCtx)
	if !cache.WaitFor(ctx, "", informer.HasSyncedChecker()) {
		return errStopped
	}
	n.abandonRest(informer.GetStore())
	// Before a new Pod gets an address, those of the Pods that were here are taken.
	known := informer.GetStore().List()
	slices.SortFunc(known, func(a, b any) int {
		return a.(*corev1.Pod).CreationTimestamp.Compare(b.(*corev1.Pod).CreationTimestamp.Time)
	})
	for _, obj := range known {
		n.restore(obj.(*corev1.Pod))
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { n.podChanged(ctx, obj.(*corev1.Pod)) },
		UpdateFunc: func(old, obj any) {
			// A watch that was interrupted shows a Pod that was replaced as an update.
			if o := old.(*corev1.Pod); o.UID != obj.(*corev1.Pod).UID {
				n.podGone(o.UID)
			}
			n.podChanged(ctx, obj.(*corev1.Pod))
		},
		DeleteFunc: func(obj any) {
			if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			n.podGone(obj.(*corev1.Pod).UID)
		},
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// isMirror says whether a Pod only shows a part of the cluster that does not run as
// a Pod. Whoever made it writes its status.
func isMirror(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// restore keeps the addresses of a Pod that ran here before the agent was started.
func (n *Node) restore(pod *corev1.Pod) {
	l := n.legacies[pod.UID]
	runs := l != nil && l.files != nil && !final(pod) && !isMirror(pod)
	if n.ignores(pod) || !runs && (over(pod) || pod.Spec.HostNetwork) {
		n.abandon(pod.UID)
		return
	}
	addrs := l.addresses(pod)
	if !pod.Spec.HostNetwork && !n.network.Pools.Reserve(addrs) {
		n.abandon(pod.UID)
		return
	}
	p := newPod(n, pod, addrs, l)
	if l != nil {
		if err := p.inherit(); err != nil {
			n.cfg.Log.Error("taking a Pod over", "pod", podName(pod), "err", err)
			n.abandon(pod.UID)
			p = newPod(n, pod, addrs, nil)
		}
		delete(n.legacies, pod.UID)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pods[pod.UID] = p
}

func (n *Node) ignores(pod *corev1.Pod) bool { return pod.Spec.NodeName != n.cfg.Name }

// over says that a Pod is not to run (any more), whoever decided so.
func over(pod *corev1.Pod) bool { return final(pod) || isMirror(pod) || pod.DeletionTimestamp != nil }

func final(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// podChanged hands a version of a Pod to its worker, starting one for a new Pod.
func (n *Node) podChanged(ctx context.Context, obj *corev1.Pod) {
	if n.ignores(obj) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p, known := n.pods[obj.UID]
	if !known {
		p = newPod(n, obj, nil, nil)
		n.pods[obj.UID] = p
	}
	p.update(obj)
	if !p.working {
		p.working = true
		if p.legacy == nil { // it was admitted long ago
			p.rejected = n.admit(p)
		}
		go func() {
			defer close(p.done)
			p.work(ctx)
			n.mu.Lock()
			delete(n.pods, p.uid)
			n.mu.Unlock()
		}()
	}
}

// podGone tells a Pod's worker that the object is no longer in the API.
func (n *Node) podGone(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.pods[uid]; p != nil {
		p.setGone()
	}
}

// admit decides whether there is room for one more Pod. n.mu is held.
func (n *Node) admit(p *pod) *status.Rejection {
	object := p.latest()
	if final(object) || isMirror(object) {
		return nil
	}
	count, clash := 0, false
	ports := api.HostPorts(&object.Spec)
	for _, other := range n.pods {
		if obj := other.latest(); other != p && !final(obj) && !isMirror(obj) {
			count++
			clash = clash || other.working && other.rejected == nil && api.HostPortsClash(ports, api.HostPorts(&obj.Spec))
		}
	}
	switch {
	case count >= n.cfg.MaxPods:
		return &status.Rejection{Reason: "OutOfpods", Message: fmt.Sprintf(
			"Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", count, n.cfg.MaxPods)}
	case clash:
		return &status.Rejection{Reason: "NodePorts", Message: "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
	default:
		return nil
	}
}

func (n *Node) waitForPods() {
	n.mu.Lock()
	var waits []chan struct{}
	for _, p := range n.pods {
		if p.working {
			waits = append(waits, p.done)
		}
	}
	n.mu.Unlock()
	for _, done := range waits {
		<-done
	}
}

// findPod finds a Pod by name, and by uid unless that is empty.
func (n *Node) findPod(namespace, name string, uid types.UID) *pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		if obj := p.latest(); obj.Namespace == namespace && obj.Name == name && (uid == "" || uid == obj.UID) && !p.isGone() {
			return p
		}
	}
	return nil
}

// Pods lists the Pods of this node, by namespace and name.
func (n *Node) Pods() []*corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*corev1.Pod
	for _, p := range n.pods {
		all = append(all, p.latest())
	}
	slices.SortFunc(all, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all
}
