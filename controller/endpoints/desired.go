package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/controller/backend"
	"orrery.example.org/controller/podstate"
)

// maxEndpoints is how many addresses an Endpoints object holds at most. It is one
// object for the whole Service, sent whole to every watcher at every change: the
// reason why EndpointSlices exist.
const maxEndpoints = 1000

// The label that marks our objects.
const (
	managedByLabel = "endpoints.kubernetes.io/managed-by"
	managedBy      = "endpoint-controller"
)

// truncated is the value of the annotation on an object that lacks some addresses.
const truncated = "truncated"

// Desired is the Endpoints that a Service should have, and whether that differs from
// current (nil: there is none). trigger is when what we answer happened, or zero.
func Desired(svc *corev1.Service, pods []*corev1.Pod, current *corev1.Endpoints, trigger time.Time) (*corev1.Endpoints, bool) {
	subsets, cut := truncate(subsetsOf(svc, pods), maxEndpoints)
	labels := labelsFor(svc)
	next := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}
	if current != nil {
		_, wasCut := current.Annotations[corev1.EndpointsOverCapacity]
		if apiequality.Semantic.DeepEqual(current.Subsets, subsets) && maps.Equal(current.Labels, labels) && wasCut == cut {
			return current, false
		}
		next = current.DeepCopy()
	}
	next.Labels, next.Subsets = labels, subsets
	delete(next.Annotations, corev1.EndpointsLastChangeTriggerTime)
	if !trigger.IsZero() {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, corev1.EndpointsLastChangeTriggerTime, trigger.UTC().Format(time.RFC3339Nano))
	}
	delete(next.Annotations, corev1.EndpointsOverCapacity)
	if cut {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, corev1.EndpointsOverCapacity, truncated)
	}
	return next, true
}

func labelsFor(svc *corev1.Service) map[string]string {
	labels := maps.Clone(svc.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[managedByLabel] = managedBy
	delete(labels, corev1.IsHeadlessService)
	if backend.Headless(svc) {
		labels[corev1.IsHeadlessService] = ""
	}
	return labels
}

// subsetsOf groups the Service's addresses by the ports they have: two Pods share a
// subset exactly when all ports are the same.
func subsetsOf(svc *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	groups := map[string]*corev1.EndpointSubset{}
	for _, pod := range pods {
		address, ok := addressOf(svc, pod)
		ports := portsOf(svc, pod)
		portless := len(svc.Spec.Ports) == 0 && backend.Headless(svc)
		if !ok || len(ports) == 0 && !portless {
			continue
		}
		key := portsKey(ports)
		if groups[key] == nil {
			groups[key] = &corev1.EndpointSubset{Ports: ports}
		}
		switch {
		case svc.Spec.PublishNotReadyAddresses || podstate.IsReady(pod):
			groups[key].Addresses = append(groups[key].Addresses, address)
		case mayBecomeReady(pod):
			groups[key].NotReadyAddresses = append(groups[key].NotReadyAddresses, address)
		}
	}
	var subsets []corev1.EndpointSubset
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		s := groups[key]
		slices.SortFunc(s.Addresses, byAddress)
		slices.SortFunc(s.NotReadyAddresses, byAddress)
		if len(s.Addresses)+len(s.NotReadyAddresses) > 0 {
			subsets = append(subsets, *s)
		}
	}
	return subsets
}

// addressOf is the Pod's entry. Endpoints know one family, the Service's first.
func addressOf(svc *corev1.Service, pod *corev1.Pod) (corev1.EndpointAddress, bool) {
	ip := backend.Address(pod, backend.Families(svc)[0])
	if ip == "" || !backend.Includes(pod, svc.Spec.PublishNotReadyAddresses) {
		return corev1.EndpointAddress{}, false
	}
	address := corev1.EndpointAddress{
		IP:        ip,
		Hostname:  backend.Hostname(pod, svc),
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if node := pod.Spec.NodeName; node != "" {
		address.NodeName = &node
	}
	return address, true
}

// mayBecomeReady is false for a Pod whose containers have ended and are not restarted.
func mayBecomeReady(pod *corev1.Pod) bool {
	switch pod.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return !podstate.IsTerminal(pod)
	case corev1.RestartPolicyOnFailure:
		return pod.Status.Phase != corev1.PodSucceeded
	default:
		return true
	}
}

func portsOf(svc *corev1.Service, pod *corev1.Pod) []corev1.EndpointPort {
	var ports []corev1.EndpointPort
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if number, ok := backend.Port(pod, p); ok {
			ports = append(ports, corev1.EndpointPort{Name: p.Name, Port: number, Protocol: p.Protocol, AppProtocol: p.AppProtocol})
		}
	}
	return ports
}

func portsKey(ports []corev1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%q %05d %q,", p.Name, p.Port, p.Protocol)
	}
	return b.String()
}

func byAddress(a, b corev1.EndpointAddress) int {
	x, _ := netip.ParseAddr(a.IP)
	y, _ := netip.ParseAddr(b.IP)
	return cmp.Or(x.Compare(y), cmp.Compare(a.TargetRef.UID, b.TargetRef.UID))
}

// truncate cuts down to max addresses, ready ones kept before others, and takes from
// each subset in proportion to its size.
func truncate(subsets []corev1.EndpointSubset, limit int) (_ []corev1.EndpointSubset, cut bool) {
	var ready, notReady int
	for _, s := range subsets {
		ready += len(s.Addresses)
		notReady += len(s.NotReadyAddresses)
	}
	if ready+notReady <= limit {
		return subsets, false
	}
	keepReady := min(ready, limit)
	keepNotReady := limit - keepReady
	var out []corev1.EndpointSubset
	for _, s := range subsets {
		s.Addresses, ready, keepReady = share(s.Addresses, ready, keepReady)
		s.NotReadyAddresses, notReady, keepNotReady = share(s.NotReadyAddresses, notReady, keepNotReady)
		if len(s.Addresses)+len(s.NotReadyAddresses) > 0 {
			out = append(out, s)
		}
	}
	return out, true
}

// share takes from one of several lists its part of keep, where all lists together
// have total addresses, and returns what the lists after it have and may keep.
func share(list []corev1.EndpointAddress, total, keep int) (part []corev1.EndpointAddress, totalLeft, keepLeft int) {
	if total == 0 {
		return nil, 0, 0
	}
	n := len(list) * keep / total
	return list[:n:n], total - len(list), keep - n
}
