package plan

import (
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// toBeDeleted is the cluster autoscaler's announcement that a node will go.
const toBeDeleted = "ToBeDeletedByClusterAutoscaler"

// judge tells whether a node takes a Service's connections.
//
// With externalTrafficPolicy Local the nodes know best which of them have endpoints:
// each answers on the Service's own health check port. Else any node will do whose
// service proxy is well, wherever the endpoints are.
//
// An address of IPv6 asks the same target as the one of IPv4: what answers there is the
// proxy of both.
func judge(svc *corev1.Service, vip netip.Addr, n *corev1.Node, in Input) Use {
	use := Use{Node: n.Name}
	addrs := addressesOfNode(n)
	if use.Why = excluded(n); use.Why != "" {
		return use
	}
	if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Is4() == vip.Is4() }) {
		use.Why = "it has no InternalIP"
		if len(addrs) > 0 {
			use.Why += " of the family of " + vip.String()
		}
		return use
	}
	port := in.NodePort
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && svc.Spec.HealthCheckNodePort != 0 {
		port = uint16(svc.Spec.HealthCheckNodePort)
	}
	use.Target = netip.AddrPortFrom(addrs[0], port)
	health := in.Health(use.Target)
	use.Takes, use.Why = health.Known && health.OK, health.Why
	if !health.Known {
		use.Why = "not checked yet"
	}
	return use
}

// excluded says why a node is not to take part at all, or "". Whether it is ready is
// not asked: that is what health checks are for.
func excluded(n *corev1.Node) string {
	if text, ok := n.Labels[corev1.LabelNodeExcludeBalancers]; ok {
		if exclude, err := strconv.ParseBool(text); err != nil || exclude {
			return "its label " + corev1.LabelNodeExcludeBalancers + " excludes it"
		}
	}
	if n.DeletionTimestamp != nil {
		return "it is being deleted"
	}
	if slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == toBeDeleted }) {
		return "the cluster autoscaler is about to delete it"
	}
	return ""
}

// addressesOfNode are a node's InternalIPs.
func addressesOfNode(n *corev1.Node) (addrs []netip.Addr) {
	for _, a := range n.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
