package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var pool = []netip.Prefix{netip.MustParsePrefix("172.30.100.0/24"), netip.MustParsePrefix("fd00:10:30:100::/112")}

func node(i int, change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node", i)},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.30.0.1%d", i)}}},
	}
	if change != nil {
		change(n)
	}
	return n
}

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeLoadBalancer,
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
			Ports:                 []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}, {Port: 53, Protocol: corev1.ProtocolUDP}},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "172.30.100.1"}}}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 31000
}

// show prints the plan as a table: what each address does, and each node's reason.
func show(p *Plan) string {
	var lines []string
	for _, s := range p.Services {
		for _, f := range s.Ports {
			g := p.Frontends[f]
			line := fmt.Sprintf("%s/%s -> %s", netip.AddrPortFrom(f.Addr, f.Port), f.Protocol, strings.Join(g.Nodes, ","))
			if g.ByClient {
				line += " by client"
			}
			lines = append(lines, line)
		}
		for _, u := range s.Uses {
			lines = append(lines, fmt.Sprintf("  %s %t: %s", u.Node, u.Takes, u.Why))
		}
	}
	return strings.Join(lines, "\n")
}

func TestOf(t *testing.T) {
	ok := Health{Known: true, OK: true, Why: "well"}
	for name, row := range map[string]struct {
		service *corev1.Service
		node2   func(*corev1.Node)
		health  map[string]Health // by target; the others are well
		want    string
	}{
		"Cluster asks the service proxies": {
			service: service(nil),
			health:  map[string]Health{"172.30.0.12:10256": {Known: true, Why: "503"}, "172.30.0.11:31000": {}},
			want: `172.30.100.1:80/TCP -> node1
172.30.100.1:53/UDP -> node1
  node1 true: well
  node2 false: 503`,
		},
		"Local asks the Service's own port": {
			service: service(local),
			health:  map[string]Health{"172.30.0.11:31000": {Known: true, Why: "no endpoints here"}, "172.30.0.12:10256": {Known: true}},
			want: `172.30.100.1:80/TCP -> node2
172.30.100.1:53/UDP -> node2
  node1 false: no endpoints here
  node2 true: well`,
		},
		"nobody is well": {
			service: service(local),
			health:  map[string]Health{"172.30.0.11:31000": {Known: true, Why: "no answer"}, "172.30.0.12:31000": {}},
			want: `172.30.100.1:80/TCP -> 
172.30.100.1:53/UDP -> 
  node1 false: no answer
  node2 false: not checked yet`,
		},
		"a label excludes a node": {
			service: service(nil),
			node2:   func(n *corev1.Node) { n.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""} },
			want: `172.30.100.1:80/TCP -> node1
172.30.100.1:53/UDP -> node1
  node1 true: well
  node2 false: its label node.kubernetes.io/exclude-from-external-load-balancers excludes it`,
		},
		"a node is about to go": {
			service: service(nil),
			node2:   func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: toBeDeleted}} },
			want: `172.30.100.1:80/TCP -> node1
172.30.100.1:53/UDP -> node1
  node1 true: well
  node2 false: the cluster autoscaler is about to delete it`,
		},
		"a node without an address": {
			service: service(nil),
			node2:   func(n *corev1.Node) { n.Status.Addresses[0].Type = corev1.NodeExternalIP },
			want: `172.30.100.1:80/TCP -> node1
172.30.100.1:53/UDP -> node1
  node1 true: well
  node2 false: it has no InternalIP`,
		},
		"an address of IPv6, and one node that has none": {
			service: service(func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IP = "fd00:10:30:100::1" }),
			node2: func(n *corev1.Node) {
				n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "fd00:10:30::12"})
			},
			want: `[fd00:10:30:100::1]:80/TCP -> node2
[fd00:10:30:100::1]:53/UDP -> node2
  node1 false: it has no InternalIP of the family of fd00:10:30:100::1
  node2 true: well`,
		},
		"affinity": {
			service: service(func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }),
			want: `172.30.100.1:80/TCP -> node1,node2 by client
172.30.100.1:53/UDP -> node1,node2 by client
  node1 true: well
  node2 true: well`,
		},
		"another's address": {service: service(func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IP = "203.0.113.1" })},
		"no address yet":    {service: service(func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = nil })},
		"no load balancer":  {service: service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })},
		"a proxy's address": {service: service(func(s *corev1.Service) {
			mode := corev1.LoadBalancerIPModeProxy
			s.Status.LoadBalancer.Ingress[0].IPMode = &mode
		})},
	} {
		p := Of(Input{
			Pool: pool, Services: []*corev1.Service{row.service}, Nodes: []*corev1.Node{node(2, row.node2), node(1, nil)}, NodePort: 10256,
			Health: func(target Target) Health {
				if h, given := row.health[target.String()]; given {
					return h
				}
				return ok
			},
		})
		if diff := cmp.Diff(row.want, show(p)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// TestNobodySharesAnAddress: whatever the status of Services says.
func TestNobodySharesAnAddress(t *testing.T) {
	other := service(func(s *corev1.Service) { s.Name, s.Spec.Ports[0].Port = "also", 81 })
	p := Of(Input{Pool: pool, Services: []*corev1.Service{service(nil), other}, Health: func(Target) Health { return Health{} }})
	if len(p.Services) != 1 || p.Services[0].Name.Name != "also" {
		t.Errorf("%+v", p.Services)
	}
}

func group(n int) Group {
	var g Group
	for i := range n {
		g.Nodes = append(g.Nodes, fmt.Sprintf("node%03d", i))
	}
	return g
}

// TestSlots: shares are nearly equal, and who stays keeps nearly all of his own.
func TestSlots(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100} {
		g := group(n)
		slots, count := g.Slots(), map[string]int{}
		for _, name := range slots {
			count[name]++
		}
		for _, name := range g.Nodes {
			if c := count[name]; c < SlotCount/n || c > SlotCount/n+1 {
				t.Errorf("%d nodes: %s has %d slots", n, name, c)
			}
		}
		if n == 1 {
			continue
		}
		less := Group{Nodes: g.Nodes[1:]}
		moved := 0
		for i, name := range less.Slots() {
			if slots[i] != g.Nodes[0] && slots[i] != name {
				moved++
			}
		}
		if limit := SlotCount / 10; moved > limit {
			t.Errorf("%d nodes: without the first, %d slots of others moved, more than %d", n, moved, limit)
		}
	}
	if s := (Group{}).Slots(); s[0] != "" {
		t.Error("an empty group has nodes")
	}
}

func TestGroupID(t *testing.T) {
	seen := map[string]Group{}
	for _, g := range []Group{group(1), group(2), {Nodes: []string{"node"}}, {Nodes: []string{"node"}, ByClient: true}} {
		if other, taken := seen[g.ID()]; taken {
			t.Errorf("%v and %v share %s", g, other, g.ID())
		}
		seen[g.ID()] = g
		if !g.Equal(g) || g.Equal(Group{}) {
			t.Errorf("%v is not what it is", g)
		}
	}
}
