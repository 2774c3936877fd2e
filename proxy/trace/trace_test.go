package trace

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/proxy/flowtest"
)

func aPod(name, node, ip string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
}

func aNode(name, ip string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}},
	}
}

func aService(name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, Ports: ports},
	}
}

// aCluster has a Service with an endpoint on each of two nodes, one of them not ready, and
// some that cannot be traced.
func aCluster() Cluster {
	web := aService("web", "10.96.0.41", corev1.ServicePort{Name: "http", Port: 80, NodePort: 30080, Protocol: corev1.ProtocolTCP})
	web.Spec.Type = corev1.ServiceTypeNodePort
	none := aService("none", "10.96.0.42", corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP})
	headless := aService("headless", corev1.ClusterIPNone, corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP})
	alias := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "alias"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}}
	two := aService("two", "10.96.0.43", corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
		corev1.ServicePort{Name: "metrics", Port: 9153, Protocol: corev1.ProtocolTCP})
	name, port, protocol := "http", int32(8080), corev1.ProtocolTCP
	endpoint := func(ip, pod, node string, ready bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready}}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{endpoint("10.244.0.2", "web-a", "node1", true), endpoint("10.244.1.2", "web-b", "node2", true),
			endpoint("10.244.1.3", "web-c", "node2", false)},
	}
	six := aService("six", "fd00:10:96::50", corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP})
	slice6 := slice.DeepCopy()
	slice6.Name, slice6.Labels[discoveryv1.LabelServiceName], slice6.AddressType = "six-1", "six", discoveryv1.AddressTypeIPv6
	slice6.Endpoints = []discoveryv1.Endpoint{endpoint("fd00:10:244::9", "client", "node1", true), endpoint("fd00:10:244:1::7", "both", "node2", true)}
	client, both := aPod("client", "node1", "10.244.0.9"), aPod("both", "node2", "10.244.1.7")
	client.Status.PodIPs = []corev1.PodIP{{IP: "10.244.0.9"}, {IP: "fd00:10:244::9"}}
	both.Status.PodIPs = []corev1.PodIP{{IP: "10.244.1.7"}, {IP: "fd00:10:244:1::7"}}
	agent := aPod("agent", "node1", "172.30.0.11")
	agent.Spec.HostNetwork = true
	pending := aPod("pending", "", "")
	pending.Status.Phase = corev1.PodPending
	return Cluster{
		Services: []*corev1.Service{web, none, headless, alias, two, six},
		Slices:   []*discoveryv1.EndpointSlice{slice, slice6},
		Pods: []*corev1.Pod{aPod("web-a", "node1", "10.244.0.2"), aPod("web-b", "node2", "10.244.1.2"), aPod("web-c", "node2", "10.244.1.3"),
			client, both, agent, pending},
		Nodes: []*corev1.Node{aNode("node1", "172.30.0.11"), aNode("node2", "172.30.0.12")},
	}
}

func ask(from, to, mode string) Question {
	return Question{From: from, To: to, Namespace: "default", Settings: Settings{
		Mode: mode, MasqueradeBit: 14, PodInterface: "cbr0", Interface: "eth0",
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:10:96::/112")},
	}}
}

// Both data planes give each question the same answer, in as many words.
func TestAnswers(t *testing.T) {
	for _, row := range []struct{ from, to, want string }{
		{"pod/client", "service/web", "50.0 %  to 10.244.0.2:8080 (Pod default/web-a on node1); it sees the client's own address"},
		{"pod/client", "svc/default/web:http", "to     10.96.0.41:80, the ClusterIP of default/web:http"},
		{"pod/client", "service/web:80", "10.244.1.3:8080   web-c   node2   no: not ready"},
		{"pod/web-a", "service/web", "it sees the node as its client: the client would be its own server (hairpin)"},
		{"node/node2", "service/web", "from   172.30.0.12, a process of node2"},
		{"pod/agent", "service/web", "Pod default/agent on node1, which has the node's network"},
		{"172.30.0.200", "node/node2:30080", "to     172.30.0.12:30080, the NodePort of default/web:http"},
		{"172.30.0.200", "172.30.0.11:30080", "it sees the node as its client: traffic to an address for outside may leave"},
		{"172.30.0.200", "node/node1:81", "100.0 %  on to 172.30.0.11:81 (node node1), untouched"},
		{"10.244.1.2", "service/none", "default/none has no endpoints: does its selector match any Pod?"},
		{"pod/client", "service/none", "100.0 %  refused: the sender gets an error at once"},
		{"pod/client", "pod/web-b:8080", "100.0 %  on to 10.244.1.2:8080 (Pod default/web-b on node2), untouched"},
		{"pod/client", "service/two:dns", "udp 10.244.0.9 -> 10.96.0.43:53"},
		{"pod/both", "service/web", "from   10.244.1.7, Pod default/both on node2"}, // which serves one family
		{"pod/both", "service/six", "from   fd00:10:244:1::7, Pod default/both on node2"},
		{"pod/both", "service/six", "50.0 %  to [fd00:10:244::9]:8080 (Pod default/client on node1); it sees the client's own address"},
		{"pod/client", "[fd00:10:244:1::7]:8080", "on to [fd00:10:244:1::7]:8080 (Pod default/both on node2), untouched"},
		{"pod/client", "10.96.0.43:54", "10.96.0.43 is the ClusterIP of default/two, whose ports are 53/udp, 9153/tcp."},
	} {
		for _, mode := range []string{ModeIPTables, ModeNFTables, ModeIPVS} {
			answer, err := Run(aCluster(), ask(row.from, row.to, mode))
			if err != nil {
				t.Errorf("%s -> %s: %v", row.from, row.to, err)
				continue
			}
			if text := answer.Text(false); !strings.Contains(text, row.want) {
				t.Errorf("%s -> %s, %s: want %q in\n%s", row.from, row.to, mode, row.want, text)
			}
		}
	}
}

// A wrong port is where the data planes differ (P16).
func TestP16WrongPort(t *testing.T) {
	for mode, want := range map[string]string{
		ModeIPTables: "on to 10.96.0.41:81, untouched: no machine has this address, and no answer comes",
		ModeNFTables: "refused: the sender gets an error at once",
		ModeIPVS:     "refused: the sender gets an error at once",
	} {
		answer, err := Run(aCluster(), ask("pod/client", "service/web:81", mode))
		if err != nil {
			t.Fatal(err)
		}
		if text := answer.Text(false); !strings.Contains(text, want) {
			t.Errorf("%s: want %q in\n%s", mode, want, text)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, row := range []struct{ from, to, want string }{
		{"client", "service/web", `from: "client" is neither an address nor kind/name: try pod/NAME, service/NAME or node/NAME`},
		{"service/web", "service/web", `from: a packet comes from pod/NAME, node/NAME or an address, not from "service/web"`},
		{"pod/nobody", "service/web", `pods "nobody" not found in namespace "default"`},
		{"pod/pending", "service/web", `pod default/pending has no address yet: it is Pending`},
		{"pod/client", "service/shop", `to: services "shop" not found in namespace "default"`},
		{"pod/client", "service/two", `to: which port of service two? It has dns (53), metrics (9153)`},
		{"pod/client", "service/two:http", `to: service two has no port "http": it has dns (53), metrics (9153)`},
		{"pod/client", "service/headless", `to: service default/headless is headless: DNS gives its clients the addresses of its Pods, and no rule takes part; trace to one of them (pod/NAME:PORT)`},
		{"pod/client", "service/alias", `to: service default/alias is only another name for example.com: it has no address, and no rules`},
		{"pod/client", "pod/web-a", `to: which port of pod/web-a?`},
		{"pod/client", "node/node9:80", `to: nodes "node9" not found`},
		{"pod/client", "10.96.0.41", `to: which port of 10.96.0.41? (A ping has none, and no rule of a Service looks at it.)`},
		{"172.30.0.200,fd00:10:30::200", "fd00:10:30::12", "to: which port of fd00:10:30::12? (A ping has none, and no rule of a Service looks at it.)"},
		{"pod/web-a", "[fd00::1]:80", `10.244.0.2 and fd00::1 are addresses of two families`},
		{"172.30.0.200", "service/web", `172.30.0.200 is a machine outside of the cluster, and 10.96.0.41 is no node's address: its network has no way there, ` +
			`for the addresses of Services and Pods are known inside only, and a load balancer chooses a node; say whose rules the packet shall meet (--at NODE)`},
	} {
		_, err := Run(aCluster(), ask(row.from, row.to, ModeIPTables))
		if err == nil || err.Error() != row.want {
			t.Errorf("%s -> %s:\n%v, want\n%s", row.from, row.to, err, row.want)
		}
	}
	if _, err := Run(aCluster(), ask("pod/client", "service/web", "userspace")); err == nil || !strings.Contains(err.Error(), "userspace") {
		t.Errorf("an unknown mode: %v", err)
	}
}

// A packet from outside by way of the load balancer: which nodes it may go to, and why not
// to the others.
func TestLoadBalancer(t *testing.T) {
	cluster := aCluster()
	web := cluster.Services[0]
	web.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.30.100.1"}}
	takes := Forward{To: netip.MustParseAddrPort("172.30.100.1:80"), Protocol: "tcp", Nodes: []string{"node2"}, Excluded: map[string]string{"node1": "no answer"}}
	none := takes
	none.Nodes, none.Excluded = nil, map[string]string{"node1": "no answer", "node2": "no answer"}
	for _, row := range []struct {
		to, at  string
		forward Forward
		want    []string
	}{
		{"service/web", "", takes, []string{"to     172.30.100.1:80, the load balancer's address of default/web:http", "to one of node2 (", "       not to node1: no answer", "rules  of node2"}},
		{"service/web", "node1", takes, []string{"to     172.30.100.1:80", "rules  of node1"}},
		{"service/web", "", none, []string{"which refuses it: no node takes connections", "not to node2"}},
		{"172.30.100.1:81", "", takes, []string{"which refuses it: the load balancer has no such port"}},
	} {
		q := ask("172.30.0.200", row.to, ModeIPTables)
		q.At, q.Forwards = row.at, []Forward{row.forward}
		answer, err := Run(cluster, q)
		if err != nil {
			t.Errorf("%s: %v", row.to, err)
			continue
		}
		for _, want := range row.want {
			if text := answer.Text(false); !strings.Contains(text, want) {
				t.Errorf("%s at %q: want %q in\n%s", row.to, row.at, want, text)
			}
		}
	}
}

// The answer as people read it.
func TestText(t *testing.T) {
	answer, err := Run(aCluster(), ask("pod/client", "service/web", ModeIPTables))
	if err != nil {
		t.Fatal(err)
	}
	flowtest.Golden(t, "answer", answer.Text(false))
}

// Whatever people type, they get an answer or an error.
func FuzzQuestion(f *testing.F) {
	f.Add("pod/client", "service/web:http", "tcp")
	f.Add("172.30.0.200", "[::1]:80", "udp")
	f.Add("node/node1", "127.0.0.1:30080", "")
	f.Fuzz(func(t *testing.T, from, to, protocol string) {
		q := ask(from, to, ModeNFTables)
		q.Protocol = protocol
		if answer, err := Run(aCluster(), q); err == nil {
			_ = answer.Text(true)
		}
	})
}
