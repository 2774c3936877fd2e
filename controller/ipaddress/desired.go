package ipaddress

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"orrery.example.org/api"
)

// verdict is what is wrong with an address, as people are told, and what to do.
type verdict struct {
	reason, message string
	about           *corev1.Service // nil: about the IPAddress
	remove          bool            // the IPAddress that is there
	make            *networkingv1.IPAddress
}

// judge compares the IPAddress of an address (nil: there is none) with the Services that
// say that it is theirs. The API server gives an address to one Service only; several can
// come from a restored backup.
func judge(ip netip.Addr, have *networkingv1.IPAddress, owners []*corev1.Service) verdict {
	if len(owners) == 0 {
		return orphan(have)
	}
	family := "IPv4"
	if ip.Is6() {
		family = "IPv6"
	}
	of := owners[0]
	want := api.ServiceIPAddress(ip, of.Namespace, of.Name)
	switch {
	case have == nil:
		return verdict{reason: "ClusterIPNotAllocated", message: fmt.Sprintf("Cluster IP [%s]: %s is not allocated; repairing", family, ip), about: of, make: want}
	case len(owners) > 1:
		for _, second := range owners {
			if !refersTo(have, second) {
				return verdict{reason: "ClusterIPAlreadyAllocated", about: second,
					message: fmt.Sprintf("Cluster IP [%s]:%s was assigned to multiple services; please recreate service", family, ip)}
			}
		}
	case !refersTo(have, of):
		return verdict{reason: "ClusterIPNotAllocated", about: of, remove: true, make: want,
			message: fmt.Sprintf("the ClusterIP [%s]: %s for Service %s/%s has a wrong reference; repairing", family, ip, of.Namespace, of.Name)}
	}
	for key, value := range want.Labels {
		if have.Labels[key] != value {
			return verdict{remove: true, make: want}
		}
	}
	return verdict{}
}

// orphan is an IPAddress whose address no Service has. Those that others manage are
// none of ours.
func orphan(have *networkingv1.IPAddress) verdict {
	if have == nil || have.Labels[networkingv1.LabelManagedBy] != api.IPAllocator || have.Spec.ParentRef == nil {
		return verdict{}
	}
	ref := have.Spec.ParentRef
	if ref.Group != "" || ref.Resource != "services" {
		return verdict{reason: "IPAddressNotAllocated", remove: true,
			message: fmt.Sprintf("IPAddress %s appears to have been modified, not referencing a Service %v: cleaning up", have.Name, ref)}
	}
	return verdict{reason: "IPAddressNotAllocated", remove: true,
		message: fmt.Sprintf("IPAddress: %s for Service %s/%s appears to have leaked: cleaning up", have.Name, ref.Namespace, ref.Name)}
}

func refersTo(ip *networkingv1.IPAddress, s *corev1.Service) bool {
	ref := ip.Spec.ParentRef
	return ref != nil && ref.Group == "" && ref.Resource == "services" && ref.Namespace == s.Namespace && ref.Name == s.Name
}

// addressesOf are the ClusterIPs of a Service, as names.
func addressesOf(s *corev1.Service) []string {
	if s == nil || !api.ServiceNeedsClusterIP(s) || api.ServiceIsHeadless(s) {
		return nil
	}
	var names []string
	for _, text := range s.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil && !slices.Contains(names, ip.String()) {
			names = append(names, ip.String())
		}
	}
	return names
}
