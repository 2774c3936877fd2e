package endpointslicemirroring

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxEndpoints is how many addresses of a subset are mirrored: a subset is one slice per
// address family, and a slice holds no more.
const maxEndpoints = 1000

// plan is what to write, and what people should hear about.
type plan struct {
	create, update, remove []*discoveryv1.EndpointSlice
	invalid, skipped       int // addresses that are none, and all that are left out
}

// desired compares the slices of hand-written Endpoints with what they should be.
func desired(e *corev1.Endpoints, existing []*discoveryv1.EndpointSlice) plan {
	var p plan
	left := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range existing {
		key := keyOf(slice)
		left[key] = append(left[key], slice)
	}
	for _, s := range repack(e.Subsets) {
		for _, slice := range p.mirror(e, s) {
			key := keyOf(slice)
			if len(left[key]) == 0 {
				p.create = append(p.create, slice)
				continue
			}
			was := left[key][0]
			left[key] = left[key][1:]
			if !same(slice, was) {
				p.update = append(p.update, renamed(slice, was))
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(left)) {
		p.remove = append(p.remove, left[key]...)
	}
	p.recycle()
	return p
}

// mirror makes a subset's slices, one per address family that it has.
func (p *plan) mirror(e *corev1.Endpoints, s corev1.EndpointSubset) []*discoveryv1.EndpointSlice {
	byType := map[discoveryv1.AddressType]*discoveryv1.EndpointSlice{}
	count := 0
	add := func(list []corev1.EndpointAddress, ready bool) {
		for _, a := range list {
			ip, err := netip.ParseAddr(a.IP)
			switch {
			case count == maxEndpoints:
				p.skipped++
				continue
			case err != nil:
				p.invalid++
				p.skipped++
				continue
			}
			count++
			addressType := discoveryv1.AddressTypeIPv4
			if ip = ip.Unmap(); ip.Is6() {
				addressType = discoveryv1.AddressTypeIPv6
			}
			if byType[addressType] == nil {
				byType[addressType] = newSlice(e, addressType, s.Ports)
			}
			endpoint := discoveryv1.Endpoint{
				Addresses:  []string{ip.String()},
				Conditions: discoveryv1.EndpointConditions{Ready: &ready},
				TargetRef:  a.TargetRef, NodeName: a.NodeName,
			}
			if a.Hostname != "" {
				endpoint.Hostname = &a.Hostname
			}
			byType[addressType].Endpoints = append(byType[addressType].Endpoints, endpoint)
		}
	}
	add(s.Addresses, true)
	add(s.NotReadyAddresses, false)
	var out []*discoveryv1.EndpointSlice
	for _, t := range slices.Sorted(maps.Keys(byType)) {
		out = append(out, byType[t])
	}
	return out
}

func newSlice(e *corev1.Endpoints, addressType discoveryv1.AddressType, ports []corev1.EndpointPort) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: e.Name + "-", Namespace: e.Namespace, Labels: map[string]string{}, Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: addressType,
	}
	maps.Copy(slice.Labels, e.Labels)
	slice.Labels[discoveryv1.LabelServiceName] = e.Name
	slice.Labels[discoveryv1.LabelManagedBy] = managedBy
	maps.Copy(slice.Annotations, e.Annotations)
	delete(slice.Annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(slice.Annotations, corev1.LastAppliedConfigAnnotation)
	for _, p := range ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	return slice
}

// same says whether a stored slice needs no write.
func same(slice, was *discoveryv1.EndpointSlice) bool {
	return equality.Semantic.DeepEqual(slice.Endpoints, was.Endpoints) && equality.Semantic.DeepEqual(slice.Ports, was.Ports) &&
		maps.Equal(slice.Labels, was.Labels) && maps.Equal(slice.Annotations, was.Annotations) &&
		equality.Semantic.DeepEqual(slice.OwnerReferences, was.OwnerReferences)
}

// renamed is the slice as the successor of a stored one.
func renamed(slice, was *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	slice.GenerateName, slice.Name = "", was.Name
	slice.UID, slice.ResourceVersion = was.UID, was.ResourceVersion
	return slice
}

// recycle turns a deletion and a creation of the same address type into one update, so
// that watchers see no gap.
func (p *plan) recycle() {
	p.remove = slices.DeleteFunc(p.remove, func(was *discoveryv1.EndpointSlice) bool {
		i := slices.IndexFunc(p.create, func(s *discoveryv1.EndpointSlice) bool { return s.AddressType == was.AddressType })
		if i < 0 {
			return false
		}
		p.update = append(p.update, renamed(p.create[i], was))
		p.create = slices.Delete(p.create, i, i+1)
		return true
	})
}

// keyOf is what the endpoints of a slice have in common.
func keyOf(s *discoveryv1.EndpointSlice) string {
	var ports []string
	for _, p := range s.Ports {
		ports = append(ports, fmt.Sprintf("%q %d %s %q", value(p.Name), value(p.Port), value(p.Protocol), value(p.AppProtocol)))
	}
	slices.Sort(ports)
	return string(s.AddressType) + ": " + strings.Join(ports, ", ")
}

// repack brings subsets into their canonical form: ports that have the same addresses
// share a subset, each address is in it once, and where it is both ready and not ready
// it is not.
func repack(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	type addresses map[string]corev1.EndpointAddress
	type column struct {
		port            *corev1.EndpointPort // nil: a subset without ports
		ready, notReady addresses
	}
	columns := map[string]*column{}
	for _, s := range subsets {
		ports := []*corev1.EndpointPort{}
		for i := range s.Ports {
			ports = append(ports, &s.Ports[i])
		}
		if len(ports) == 0 {
			ports = append(ports, nil)
		}
		for _, port := range ports {
			key := portKey(port)
			if columns[key] == nil {
				columns[key] = &column{port, addresses{}, addresses{}}
			}
			c := columns[key]
			for _, a := range s.Addresses {
				c.ready[addressKey(a)] = a
			}
			for _, a := range s.NotReadyAddresses {
				c.notReady[addressKey(a)] = a
			}
		}
	}
	merged := map[string]*corev1.EndpointSubset{}
	for _, key := range slices.Sorted(maps.Keys(columns)) {
		c := columns[key]
		for a := range c.notReady {
			delete(c.ready, a)
		}
		ready, notReady := slices.Sorted(maps.Keys(c.ready)), slices.Sorted(maps.Keys(c.notReady))
		signature := strings.Join(ready, ",") + ";" + strings.Join(notReady, ",")
		if merged[signature] == nil {
			merged[signature] = &corev1.EndpointSubset{Addresses: pick(c.ready, ready), NotReadyAddresses: pick(c.notReady, notReady)}
		}
		if c.port != nil {
			merged[signature].Ports = append(merged[signature].Ports, *c.port)
		}
	}
	var out []corev1.EndpointSubset
	for _, signature := range slices.Sorted(maps.Keys(merged)) {
		out = append(out, *merged[signature])
	}
	slices.SortStableFunc(out, func(a, b corev1.EndpointSubset) int { return cmp.Compare(len(a.Ports), len(b.Ports)) })
	return out
}

func pick(from map[string]corev1.EndpointAddress, keys []string) (list []corev1.EndpointAddress) {
	for _, k := range keys {
		list = append(list, from[k])
	}
	return list
}

func portKey(p *corev1.EndpointPort) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%q %d %s %q", p.Name, p.Port, p.Protocol, value(p.AppProtocol))
}

func addressKey(a corev1.EndpointAddress) string {
	if a.TargetRef == nil {
		return a.IP
	}
	return a.IP + "/" + string(a.TargetRef.UID)
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
