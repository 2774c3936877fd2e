package proxy

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	k8sinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/proxy/plan"
)

// ours selects what concerns a proxy: not what another one serves, and nothing headless,
// which DNS alone makes work (P1).
const ours = "!" + corev1.IsHeadlessService + ",!" + plan.ProxyNameLabel

// byService indexes slices by the Service they belong to.
const byService = "service"

// informers mirror the API server's Services, EndpointSlices and this node.
type informers struct {
	factories              []k8sinformers.SharedInformerFactory
	services, slices, node cache.SharedIndexInformer
}

func (p *Proxy) newInformers() *informers {
	objects := k8sinformers.NewSharedInformerFactoryWithOptions(p.client, 0, k8sinformers.WithTransform(slim),
		k8sinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = ours }))
	self := k8sinformers.NewSharedInformerFactoryWithOptions(p.client, 0, k8sinformers.WithTransform(slim),
		k8sinformers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", p.cfg.NodeName).String()
		}))
	in := &informers{
		factories: []k8sinformers.SharedInformerFactory{objects, self},
		services:  objects.Core().V1().Services().Informer(),
		slices:    objects.Discovery().V1().EndpointSlices().Informer(),
		node:      self.Core().V1().Nodes().Informer(),
	}
	// These fail only on an informer that has been started.
	_ = in.slices.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
		return []string{sliceOwner(obj).String()}, nil
	}})
	started := time.Now()
	_, _ = in.services.AddEventHandler(handler(func(obj any, _ bool) { p.queue.add(serviceName(obj), time.Time{}) }))
	_, _ = in.slices.AddEventHandler(handler(func(obj any, deleted bool) {
		p.queue.add(sliceOwner(obj), triggerTime(obj, deleted, started))
	}))
	_, _ = in.node.AddEventHandler(handler(func(obj any, deleted bool) { p.nodeChanged(obj.(*corev1.Node), deleted) }))
	return in
}

// start runs the informers until ctx ends.
func (in *informers) start(ctx context.Context, g *errgroup.Group) {
	for _, f := range in.factories {
		f.Start(ctx.Done())
		g.Go(func() error {
			<-ctx.Done()
			f.Shutdown()
			return nil
		})
	}
}

// waitForSync waits until the lists are read and their events are in the queue (P2).
func (in *informers) waitForSync(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), in.services.HasSynced, in.slices.HasSynced, in.node.HasSynced)
}

// service and its slices as the informers have them; nil if it is gone.
func (in *informers) service(name plan.Name) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	obj, found, _ := in.services.GetStore().GetByKey(name.String())
	if !found {
		return nil, nil
	}
	objs, _ := in.slices.GetIndexer().ByIndex(byService, name.String())
	slices := make([]*discoveryv1.EndpointSlice, len(objs))
	for i, o := range objs {
		slices[i] = o.(*discoveryv1.EndpointSlice)
	}
	return obj.(*corev1.Service), slices
}

// names of all Services there are.
func (in *informers) names() []plan.Name {
	var all []plan.Name
	for _, obj := range in.services.GetStore().List() {
		all = append(all, serviceName(obj))
	}
	return all
}

// planNode is what a plan needs to know of this node, and its Pod CIDRs.
func (in *informers) planNode(name string, family plan.Family) (node plan.Node, podCIDRs string) {
	node = plan.Node{Family: family, Name: name}
	obj, found, _ := in.node.GetStore().GetByKey(name)
	if !found {
		return node, ""
	}
	n := obj.(*corev1.Node)
	node.Zone = n.Labels[corev1.LabelTopologyZone]
	for _, a := range n.Status.Addresses {
		ip, err := netip.ParseAddr(a.Address)
		if err == nil && a.Type == corev1.NodeInternalIP && ip.Is4() == (family == plan.IPv4) {
			node.IP = ip
			break
		}
	}
	return node, strings.Join(append(n.Spec.PodCIDRs, n.Spec.PodCIDR), ",")
}

// handler calls f with every object that is new, changed or gone. An update that
// changes nothing is a resync and of no interest.
func handler(f func(obj any, deleted bool)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { f(obj, false) },
		UpdateFunc: func(old, obj any) {
			a, _ := meta.Accessor(old)
			b, _ := meta.Accessor(obj)
			if a.GetResourceVersion() != b.GetResourceVersion() || a.GetResourceVersion() == "" {
				f(obj, false)
			}
			if sliceA, ok := old.(*discoveryv1.EndpointSlice); ok && sliceOwner(sliceA) != sliceOwner(obj) {
				f(old, true) // it changed hands
			}
		},
		DeleteFunc: func(obj any) {
			// After a broken watch the informer may know only that the object is gone.
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			f(obj, true)
		},
	}
}

func serviceName(obj any) plan.Name {
	svc := obj.(*corev1.Service)
	return plan.Name{Namespace: svc.Namespace, Name: svc.Name}
}

func sliceOwner(obj any) plan.Name {
	slice := obj.(*discoveryv1.EndpointSlice)
	return plan.Name{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

// triggerTime is when the change behind a slice happened, or zero. What happened before
// the start says nothing about this proxy's speed (P52).
func triggerTime(obj any, deleted bool, started time.Time) time.Time {
	text := obj.(*discoveryv1.EndpointSlice).Annotations[corev1.EndpointsLastChangeTriggerTime]
	t, err := time.Parse(time.RFC3339Nano, text)
	if deleted || err != nil || t.Before(started) {
		return time.Time{}
	}
	return t
}

// slim keeps of an object what a plan looks at. Most of the memory of a proxy in a large
// cluster is objects of the API.
func slim(obj any) (any, error) {
	o, err := meta.Accessor(obj)
	if err != nil {
		return obj, nil
	}
	o.SetManagedFields(nil)
	o.SetOwnerReferences(nil)
	o.SetAnnotations(only(o.GetAnnotations(), corev1.EndpointsLastChangeTriggerTime))
	switch o := obj.(type) {
	case *corev1.Node:
		o.Status.Images = nil
	case *corev1.Service:
		o.Labels = only(o.Labels, plan.ProxyNameLabel)
		o.Spec.Selector = nil
	case *discoveryv1.EndpointSlice:
		o.Labels = only(o.Labels, discoveryv1.LabelServiceName, corev1.IsHeadlessService)
		o.GenerateName = ""
	}
	return obj, nil
}

// only is the part of a map with these keys.
func only(all map[string]string, keys ...string) map[string]string {
	var kept map[string]string
	for _, key := range keys {
		if value, ok := all[key]; ok {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	return kept
}
