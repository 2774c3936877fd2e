package endpointslice

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/backend"
)

// maxEndpoints is how many endpoints one slice holds at most. Every proxy reads every
// slice that changes, so the size of a slice is the price of one Pod's change.
const maxEndpoints = 100

// Snapshot is everything the slices of one Service depend on.
type Snapshot struct {
	Service  *corev1.Service
	Pods     []*corev1.Pod
	Existing []*discoveryv1.EndpointSlice
	Node     func(name string) *corev1.Node // nil: no such node
	Trigger  time.Time                      // when what we answer happened; zero: unknown
	Shares   map[string]float64             // of the zones, see cpuShares; for automatic hints
}

// Plan is what to write. The objects are ready to be sent.
type Plan struct {
	Create, Update, Delete []*discoveryv1.EndpointSlice
	// Hints says of each address family why it gets no automatic hints, or "" where it does.
	// It is nil where nobody has asked for any.
	Hints map[discoveryv1.AddressType]string
}

// Desired compares what should be with what is.
func Desired(s Snapshot) Plan {
	var plan Plan
	groups := groupsOf(s)
	if automatic(s.Service) {
		plan.Hints = s.hintAutomatically(groups)
	}
	for _, slice := range s.Existing {
		g := groups.of(slice)
		switch {
		case slice.DeletionTimestamp != nil:
			// On its way out; its endpoints are placed anew.
		case g == nil || !metav1.IsControlledBy(slice, s.Service):
			plan.Delete = append(plan.Delete, slice)
		default:
			g.have = append(g.have, slice)
		}
	}
	for _, g := range groups.sorted() {
		for _, p := range g.pack() {
			s.settle(&plan, g, p)
		}
	}
	plan.reuse()
	return plan
}

// settle turns one packed slice into a write, if it needs one.
func (s Snapshot) settle(plan *Plan, g *group, p packed) {
	if p.was != nil && len(p.endpoints) == 0 && !g.placeholder {
		plan.Delete = append(plan.Delete, p.was)
		return
	}
	labels := labelsFor(s.Service)
	if p.was != nil && !p.changed && maps.Equal(p.was.Labels, labels) {
		return
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		GenerateName: s.Service.Name + "-",
		Namespace:    s.Service.Namespace,
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(s.Service, corev1.SchemeGroupVersion.WithKind("Service")),
		},
	}}
	if p.was != nil {
		slice = p.was.DeepCopy()
	}
	slice.Labels = labels
	slice.AddressType, slice.Ports, slice.Endpoints = g.addressType, g.ports, p.endpoints
	// The annotation speaks of the change that this write answers, so an old one must go.
	delete(slice.Annotations, corev1.EndpointsLastChangeTriggerTime)
	if !s.Trigger.IsZero() {
		metav1.SetMetaDataAnnotation(&slice.ObjectMeta, corev1.EndpointsLastChangeTriggerTime,
			s.Trigger.UTC().Format(time.RFC3339Nano))
	}
	if p.was != nil {
		plan.Update = append(plan.Update, slice)
	} else {
		plan.Create = append(plan.Create, slice)
	}
}

// reuse turns a deletion and a creation of the same address type into one update:
// a slice whose ports changed keeps its name, and watchers see one event.
func (p *Plan) reuse() {
	kept := p.Delete[:0]
	for _, old := range p.Delete {
		i := slices.IndexFunc(p.Create, func(n *discoveryv1.EndpointSlice) bool {
			return n.AddressType == old.AddressType && apiequality.Semantic.DeepEqual(n.OwnerReferences, old.OwnerReferences)
		})
		if i < 0 {
			kept = append(kept, old)
			continue
		}
		slice := p.Create[i]
		p.Create = slices.Delete(p.Create, i, i+1)
		annotations := slice.Annotations
		fresh := slice.Labels
		slice.ObjectMeta = *old.ObjectMeta.DeepCopy()
		slice.Labels, slice.Annotations = fresh, annotations
		p.Update = append(p.Update, slice)
	}
	p.Delete = kept
}

// reserved labels are the controller's; the rest are the Service's, mirrored.
func labelsFor(svc *corev1.Service) map[string]string {
	labels := maps.Clone(svc.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName] = svc.Name
	labels[discoveryv1.LabelManagedBy] = managedBy
	if backend.Headless(svc) {
		labels[corev1.IsHeadlessService] = "" // proxies leave these slices alone
	} else {
		delete(labels, corev1.IsHeadlessService)
	}
	return labels
}

// groups are the endpoints of a Service by what all endpoints of a slice must share.
type groups map[groupKey]*group

type groupKey struct {
	addressType discoveryv1.AddressType
	ports       string
}

// group is the endpoints that may share slices: one address family, the same ports.
type group struct {
	addressType discoveryv1.AddressType
	ports       []discoveryv1.EndpointPort
	want        map[types.UID]*discoveryv1.Endpoint // by Pod
	have        []*discoveryv1.EndpointSlice
	placeholder bool // keep one slice although there is nothing to put into it
}

func groupsOf(s Snapshot) groups {
	out := groups{}
	for _, family := range backend.Families(s.Service) {
		empty := true
		for _, pod := range s.Pods {
			endpoint, ok := s.endpoint(pod, family)
			if !ok {
				continue
			}
			empty = false
			out.get(family, portsOf(s.Service, pod)).want[pod.UID] = &endpoint
		}
		if empty {
			// A Service without endpoints has one empty slice, so that watchers can tell
			// "none" from "not there yet".
			out.get(family, []discoveryv1.EndpointPort{}).placeholder = true
		}
	}
	return out
}

func (gs groups) get(family corev1.IPFamily, ports []discoveryv1.EndpointPort) *group {
	key := groupKey{discoveryv1.AddressType(family), portsKey(ports)}
	if gs[key] == nil {
		gs[key] = &group{addressType: key.addressType, ports: ports, want: map[types.UID]*discoveryv1.Endpoint{}}
	}
	return gs[key]
}

// of finds the group that an existing slice can serve, or nil.
func (gs groups) of(slice *discoveryv1.EndpointSlice) *group {
	return gs[groupKey{slice.AddressType, portsKey(slice.Ports)}]
}

func (gs groups) sorted() []*group {
	keys := slices.SortedFunc(maps.Keys(gs), func(a, b groupKey) int {
		return cmp.Or(cmp.Compare(a.addressType, b.addressType), cmp.Compare(a.ports, b.ports))
	})
	var out []*group
	for _, k := range keys {
		out = append(out, gs[k])
	}
	return out
}
