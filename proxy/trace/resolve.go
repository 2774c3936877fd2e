package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orrery.example.org/proxy/packet"
)

// resolver turns names into addresses.
type resolver struct {
	Cluster
	question Question
}

// sender is who sends the packet.
type sender struct {
	Place
	all  []netip.Addr // its addresses, of which Addr is one
	node *corev1.Node // where it is sent; nil: outside of the cluster
	pod  bool         // by a Pod with a network of its own
}

// reference is a name as people write it: kind/name, kind/namespace/name, and a port.
type reference struct{ kind, namespace, name, port string }

func (r *resolver) parse(text string) (reference, error) {
	parts := strings.Split(text, "/")
	ref := reference{kind: parts[0], namespace: r.question.Namespace}
	switch len(parts) {
	case 2:
		ref.name = parts[1]
	case 3:
		ref.namespace, ref.name = parts[1], parts[2]
	default:
		return ref, fmt.Errorf("%q is neither an address nor kind/name: try pod/NAME, service/NAME or node/NAME", text)
	}
	ref.name, ref.port, _ = strings.Cut(ref.name, ":")
	return ref, nil
}

func (r *resolver) sender() (sender, error) {
	from := r.question.From
	if addrs := parseAddrs(from); len(addrs) > 0 {
		return r.senderAt(addrs[0]).having(addrs), nil
	}
	ref, err := r.parse(from)
	if err != nil {
		return sender{}, fmt.Errorf("from: %w", err)
	}
	switch ref.kind {
	case "pod", "pods", "po":
		pod, err := r.pod(ref)
		if err != nil {
			return sender{}, err
		}
		addrs := podAddrs(pod)
		return r.senderAt(addrs[0]).as(pod).having(addrs), nil
	case "node", "nodes", "no":
		node, err := r.node(ref.name)
		if err != nil {
			return sender{}, err
		}
		addrs := addressesOf(node)
		return sender{Place: Place{Addr: addrs[0], Is: "a process of " + node.Name}, node: node}.having(addrs), nil
	}
	return sender{}, fmt.Errorf("from: a packet comes from pod/NAME, node/NAME or an address, not from %q", from)
}

// senderAt is who has the address: a Pod, a node, or somebody else.
func (r *resolver) senderAt(addr netip.Addr) sender {
	for _, pod := range r.Pods {
		if slices.Contains(podAddrs(pod), addr) && !pod.Spec.HostNetwork {
			node, _ := r.node(pod.Spec.NodeName)
			return sender{Place: Place{Addr: addr, Is: podText(pod)}, node: node, pod: true}
		}
	}
	for _, node := range r.Nodes {
		if slices.Contains(addressesOf(node), addr) {
			return sender{Place: Place{Addr: addr, Is: "a process of " + node.Name}, node: node}
		}
	}
	return sender{Place: Place{Addr: addr, Is: "a machine outside of the cluster"}}
}

// having gives a sender its addresses. The packet's destination decides which it sends from.
func (s sender) having(addrs []netip.Addr) sender {
	s.all = addrs
	return s
}

// like is the sender with an address of that family, if it has one.
func (s sender) like(to netip.Addr) sender {
	for _, addr := range s.all {
		if addr.Is4() == to.Is4() {
			s.Addr = addr
			break
		}
	}
	return s
}

// reach is the first of these addresses that the sender has one like, in the order of the
// sender's; invalid if there is none.
func (s sender) reach(addrs []netip.Addr) netip.Addr {
	for _, own := range s.all {
		for _, addr := range addrs {
			if addr.Is4() == own.Is4() {
				return addr
			}
		}
	}
	return netip.Addr{}
}

// as names a Pod that shares its node's network.
func (s sender) as(pod *corev1.Pod) sender {
	if pod.Spec.HostNetwork {
		s.Is = podText(pod) + ", which has the node's network"
	}
	return s
}

func podText(pod *corev1.Pod) string {
	return fmt.Sprintf("Pod %s/%s on %s", pod.Namespace, pod.Name, pod.Spec.NodeName)
}

// destination is where the packet is sent, and by which protocol.
func (r *resolver) destination(from sender) (Place, string, error) {
	protocol := strings.ToLower(r.question.Protocol)
	if !slices.Contains([]string{"", "tcp", "udp", "sctp"}, protocol) {
		return Place{}, "", fmt.Errorf("protocol %q is unknown: Services have tcp, udp and sctp", protocol)
	}
	to, found, err := r.address(from)
	from = from.like(to.Addr)
	if protocol == "" {
		protocol = found
	}
	switch {
	case err != nil:
		return to, "", fmt.Errorf("to: %w", err)
	case to.Addr.Is4() != from.Addr.Is4():
		return to, "", fmt.Errorf("%s and %s are addresses of two families", from.Addr, to.Addr)
	case to.Port == 0:
		return to, "", fmt.Errorf("to: which port of %s?", r.question.To)
	}
	return to, protocol, nil
}

// address finds the destination, and the protocol that goes with it.
func (r *resolver) address(from sender) (Place, string, error) {
	text := r.question.To
	if addr, err := netip.ParseAddrPort(text); err == nil {
		return Place{Addr: addr.Addr(), Port: addr.Port(), Is: r.senderAt(addr.Addr()).Is}, "tcp", nil
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return Place{}, "", fmt.Errorf("which port of %s? (A ping has none, and no rule of a Service looks at it.)", text)
	}
	ref, err := r.parse(text)
	if err != nil {
		return Place{}, "", err
	}
	switch ref.kind {
	case "service", "services", "svc":
		return r.service(ref, from)
	case "pod", "pods", "po":
		pod, err := r.pod(ref)
		if err != nil {
			return Place{}, "", err
		}
		addr := from.reach(podAddrs(pod))
		if !addr.IsValid() {
			return Place{}, "", fmt.Errorf("%s has no address of the family of %s", podText(pod), from.Addr)
		}
		return Place{Addr: addr, Port: number(ref.port), Is: podText(pod)}, "tcp", nil
	case "node", "nodes", "no":
		node, err := r.node(ref.name)
		if err != nil {
			return Place{}, "", err
		}
		addr := from.reach(addressesOf(node))
		if !addr.IsValid() {
			return Place{}, "", fmt.Errorf("node %s has no address of the family of %s", node.Name, from.Addr)
		}
		return Place{Addr: addr, Port: number(ref.port), Is: "node " + node.Name}, "tcp", nil
	}
	return Place{}, "", fmt.Errorf("a packet goes to service/NAME, pod/NAME:PORT, node/NAME:PORT or ADDRESS:PORT, not to %q", text)
}

// service is the address and port of a Service, of the sender's family if it has both: the
// ClusterIP, or from outside the load balancer's if there is one.
func (r *resolver) service(ref reference, from sender) (Place, string, error) {
	for _, svc := range r.Services {
		if svc.Name != ref.name || svc.Namespace != ref.namespace {
			continue
		}
		switch {
		case svc.Spec.Type == corev1.ServiceTypeExternalName:
			return Place{}, "", fmt.Errorf("service %s/%s is only another name for %s: it has no address, and no rules", svc.Namespace, svc.Name, svc.Spec.ExternalName)
		case svc.Spec.ClusterIP == corev1.ClusterIPNone:
			return Place{}, "", fmt.Errorf("service %s/%s is headless: DNS gives its clients the addresses of its Pods, and no rule takes part; trace to one of them (pod/NAME:PORT)", svc.Namespace, svc.Name)
		}
		port, err := portOf(svc, ref.port)
		if err != nil {
			return Place{}, "", err
		}
		ips := svc.Spec.ClusterIPs
		if from.node == nil && len(svc.Status.LoadBalancer.Ingress) > 0 {
			ips = nil
			for _, in := range svc.Status.LoadBalancer.Ingress {
				ips = append(ips, in.IP)
			}
		}
		if addr := from.reach(parseAddrs(strings.Join(ips, ","))); addr.IsValid() {
			return Place{Addr: addr, Port: uint16(port.Port)}, protocolName(port.Protocol), nil
		}
		return Place{}, "", fmt.Errorf("service %s/%s has no address of the family of %s, only %v", svc.Namespace, svc.Name, from.Addr, ips)
	}
	return Place{}, "", fmt.Errorf("services %q not found in namespace %q", ref.name, ref.namespace)
}

// portOf is the port of that name or number, or the only one.
func portOf(svc *corev1.Service, want string) (corev1.ServicePort, error) {
	var names []string
	for _, p := range svc.Spec.Ports {
		if want == p.Name && want != "" || intstr.Parse(want) == intstr.FromInt32(p.Port) || want == "" && len(svc.Spec.Ports) == 1 {
			return p, nil
		}
		names = append(names, strings.TrimPrefix(fmt.Sprintf("%s (%d)", p.Name, p.Port), " "))
	}
	if want == "" {
		return corev1.ServicePort{}, fmt.Errorf("which port of service %s? It has %s", svc.Name, strings.Join(names, ", "))
	}
	if n := number(want); n != 0 { // a mistake that is worth following, too
		return corev1.ServicePort{Port: int32(n), Protocol: corev1.ProtocolTCP}, nil
	}
	return corev1.ServicePort{}, fmt.Errorf("service %s has no port %q: it has %s", svc.Name, want, strings.Join(names, ", "))
}

func (r *resolver) pod(ref reference) (*corev1.Pod, error) {
	for _, pod := range r.Pods {
		if pod.Name == ref.name && pod.Namespace == ref.namespace {
			if len(podAddrs(pod)) == 0 {
				return nil, fmt.Errorf("pod %s/%s has no address yet: it is %s", pod.Namespace, pod.Name, pod.Status.Phase)
			}
			return pod, nil
		}
	}
	return nil, fmt.Errorf("pods %q not found in namespace %q", ref.name, ref.namespace)
}

func (r *resolver) node(name string) (*corev1.Node, error) {
	for _, node := range r.Nodes {
		if node.Name == name {
			if len(addressesOf(node)) == 0 {
				return nil, fmt.Errorf("node %s has no address yet", name)
			}
			return node, nil
		}
	}
	return nil, fmt.Errorf("nodes %q not found", name)
}

// meets is the node whose rules the packet meets first.
func (r *resolver) meets(from sender, to Place, via *Forward) (*corev1.Node, error) {
	if from.node != nil {
		return from.node, nil
	}
	if r.question.At != "" {
		return r.node(r.question.At)
	}
	if via != nil {
		return r.node(via.Nodes[0])
	}
	for _, node := range r.Nodes {
		if slices.Contains(addressesOf(node), to.Addr) {
			return node, nil
		}
	}
	return nil, fmt.Errorf("%s is a machine outside of the cluster, and %s is no node's address: its network has no way there, for the addresses of Services and Pods are known inside only, "+
		"and a load balancer chooses a node; say whose rules the packet shall meet (--at NODE)", from.Addr, to.Addr)
}

// packet is the first of its flow, as the node meets it.
func (r *resolver) packet(from sender, to Place, protocol string) packet.Packet {
	p := packet.Packet{Source: from.Addr, Protocol: protocol, Destination: netip.AddrPortFrom(to.Addr, to.Port)}
	switch {
	case from.pod:
		p.In = r.question.Settings.PodInterface
	case from.node == nil:
		p.In = r.question.Settings.Interface
	case to.Addr.IsLoopback():
		p.Source = to.Addr
	}
	return p
}

// near tells whose address a destination is, where its port is none of that Service.
func (r *resolver) near(addr netip.Addr) string {
	for _, svc := range r.Services {
		if !slices.Contains(svc.Spec.ClusterIPs, addr.String()) {
			continue
		}
		var ports []string
		for _, p := range svc.Spec.Ports {
			ports = append(ports, fmt.Sprintf("%d/%s", p.Port, protocolName(p.Protocol)))
		}
		return fmt.Sprintf(" (%s is the ClusterIP of %s/%s, whose ports are %s.)", addr, svc.Namespace, svc.Name, strings.Join(ports, ", "))
	}
	return ""
}

// names are whose an address is.
func (r *resolver) names() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	for _, pod := range r.Pods {
		for _, addr := range podAddrs(pod) {
			if !pod.Spec.HostNetwork {
				all[addr] = podText(pod)
			}
		}
	}
	for _, node := range r.Nodes {
		for _, addr := range addressesOf(node) {
			all[addr] = "node " + node.Name
		}
	}
	return all
}

// podAddrs are a Pod's, its podIP first.
func podAddrs(pod *corev1.Pod) []netip.Addr {
	ips := []string{pod.Status.PodIP}
	for _, ip := range pod.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	addrs := parseAddrs(strings.Join(ips, ","))
	return slices.Compact(addrs)
}

// parseAddrs reads addresses with commas between them. What is none is left out.
func parseAddrs(list string) (addrs []netip.Addr) {
	for text := range strings.SplitSeq(list, ",") {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

func addressesOf(node *corev1.Node) []netip.Addr {
	var all []netip.Addr
	for _, a := range node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			all = append(all, addr)
		}
	}
	return all
}

// number is a port's, 0 if it is none.
func number(text string) uint16 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// protocolName is a protocol as rules spell it.
func protocolName(p corev1.Protocol) string { return strings.ToLower(string(p)) }
