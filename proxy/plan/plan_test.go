package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var node1 = Node{Family: IPv4, Name: "node1", Zone: "east", IP: netip.MustParseAddr("172.30.0.11")}

func ptr[T any](v T) *T { return &v }

// web is a ClusterIP Service ns/web with the port http.
func web(tweaks ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.41", Type: corev1.ServiceTypeClusterIP,
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
	for _, t := range tweaks {
		t(s)
	}
	return s
}

// An endpoint is written "address[@node][ flags]"; the flags are
// notready, terminating, gone (terminating and not serving), zone=Z and on=N for hints,
// and bare (no conditions at all).
func ep(text string) discoveryv1.Endpoint {
	fields := strings.Fields(text)
	addr, node, _ := strings.Cut(fields[0], "@")
	c := discoveryv1.EndpointConditions{Ready: ptr(true), Serving: ptr(true), Terminating: ptr(false)}
	e := discoveryv1.Endpoint{Addresses: []string{addr}}
	if node != "" {
		e.NodeName = &node
	}
	hints := &discoveryv1.EndpointHints{}
	for _, f := range fields[1:] {
		switch key, value, _ := strings.Cut(f, "="); key {
		case "notready":
			c.Ready, c.Serving = ptr(false), ptr(false)
		case "terminating":
			c.Ready, c.Terminating = ptr(false), ptr(true)
		case "gone":
			c.Ready, c.Serving, c.Terminating = ptr(false), ptr(false), ptr(true)
		case "bare":
			c = discoveryv1.EndpointConditions{}
		case "zone":
			hints.ForZones, e.Hints = append(hints.ForZones, discoveryv1.ForZone{Name: value}), hints
		case "on":
			hints.ForNodes, e.Hints = append(hints.ForNodes, discoveryv1.ForNode{Name: value}), hints
		}
	}
	e.Conditions = c
	return e
}

func slice(name string, port int32, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: ptr("http"), Port: &port, Protocol: ptr(corev1.ProtocolTCP)}}}
	for _, e := range endpoints {
		s.Endpoints = append(s.Endpoints, ep(e))
	}
	return s
}

func texts(addrs []netip.AddrPort) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func externalLocal(s *corev1.Service) {
	s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30080
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func internalLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
}

func TestP1Skipped(t *testing.T) {
	for want, tweak := range map[string]func(*corev1.Service){
		"headless":     func(s *corev1.Service) { s.Spec.ClusterIP = "None" },
		"no ClusterIP": func(s *corev1.Service) { s.Spec.ClusterIP = "" },
		"ExternalName": func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
		`proxy "x"`:    func(s *corev1.Service) { s.Labels = map[string]string{ProxyNameLabel: "x"} },
		"no IPv4":      func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "fd00::1", []string{"fd00::1"} },
	} {
		got := Of(web(tweak), []*discoveryv1.EndpointSlice{slice("web-1", 8080, "10.244.1.2")}, node1)
		if !strings.Contains(got.Skipped, want) || len(got.Ports) > 0 {
			t.Errorf("want skipped for %q, got %q with %d ports", want, got.Skipped, len(got.Ports))
		}
	}
}

// Which endpoints a port has after its slices are merged (P3, P4).
func TestP3P4Merge(t *testing.T) {
	otherPort := slice("web-1", 8080, "10.244.1.2")
	otherPort.Ports[0].Name = ptr("metrics")
	noName, noNumber, udp, v6 := slice("web-1", 8080, "10.244.1.2"), slice("web-1", 8080, "10.244.1.2"), slice("web-1", 8080, "10.244.1.2"), slice("web-1", 8080, "fd00::2")
	noName.Ports[0].Name, noNumber.Ports[0].Port, udp.Ports[0].Protocol = nil, nil, ptr(corev1.ProtocolUDP)
	v6.AddressType = discoveryv1.AddressTypeIPv6
	second := slice("web-1", 8080, "10.244.1.2")
	second.Endpoints[0].Addresses = []string{"10.244.1.2", "10.244.1.3"}
	empty := slice("web-1", 8080, "10.244.1.2")
	empty.Endpoints[0].Addresses = nil
	headless := slice("web-1", 8080, "10.244.1.2")
	headless.Labels = map[string]string{corev1.IsHeadlessService: ""}
	noProtocol := slice("web-1", 8080, "10.244.1.2")
	noProtocol.Ports[0].Protocol = nil
	for name, row := range map[string]struct {
		slices  []*discoveryv1.EndpointSlice
		want    string
		ignored string // a part of what is said to be left out
	}{
		"order is that of the text":      {[]*discoveryv1.EndpointSlice{slice("web-1", 8080, "10.244.1.9", "10.244.1.10")}, "10.244.1.10:8080 10.244.1.9:8080", ""},
		"two slices":                     {[]*discoveryv1.EndpointSlice{slice("web-2", 8080, "10.244.1.3"), slice("web-1", 8080, "10.244.1.2")}, "10.244.1.2:8080 10.244.1.3:8080", ""},
		"named port of different number": {[]*discoveryv1.EndpointSlice{slice("web-1", 8080, "10.244.1.2"), slice("web-2", 9090, "10.244.1.3")}, "10.244.1.2:8080 10.244.1.3:9090", ""},
		"the same twice":                 {[]*discoveryv1.EndpointSlice{slice("web-1", 8080, "10.244.1.2"), slice("web-2", 8080, "10.244.1.2")}, "10.244.1.2:8080", ""},
		"not terminating wins, first":    {[]*discoveryv1.EndpointSlice{slice("web-1", 8080, "10.244.1.2"), slice("web-2", 8080, "10.244.1.2 terminating", "10.244.1.3")}, "10.244.1.2:8080 10.244.1.3:8080", ""},
		"not terminating wins, last":     {[]*discoveryv1.EndpointSlice{slice("web-1", 8080, "10.244.1.2 terminating"), slice("web-2", 8080, "10.244.1.2", "10.244.1.3")}, "10.244.1.2:8080 10.244.1.3:8080", ""},
		"conditions default":             {[]*discoveryv1.EndpointSlice{slice("web-1", 8080, "10.244.1.2 bare")}, "10.244.1.2:8080", ""},
		"first address only":             {[]*discoveryv1.EndpointSlice{second}, "10.244.1.2:8080", ""},
		"no address":                     {[]*discoveryv1.EndpointSlice{empty}, "", ""},
		"protocol defaults to TCP":       {[]*discoveryv1.EndpointSlice{noProtocol}, "10.244.1.2:8080", ""},
		"other port name":                {[]*discoveryv1.EndpointSlice{otherPort}, "", "no such port"},
		"other protocol":                 {[]*discoveryv1.EndpointSlice{udp}, "", "no such port"},
		"port without name":              {[]*discoveryv1.EndpointSlice{noName}, "", "has no name"},
		"port without number":            {[]*discoveryv1.EndpointSlice{noNumber}, "", "has no number"},
		"other family":                   {[]*discoveryv1.EndpointSlice{v6}, "", ""},
		"headless slice":                 {[]*discoveryv1.EndpointSlice{headless}, "", "headless"},
		"garbage":                        {[]*discoveryv1.EndpointSlice{slice("web-1", 8080, "10.244.1.300", "10.244.1.2")}, "10.244.1.2:8080", "not an IPv4 address"},
	} {
		got := Of(web(), row.slices, node1)
		if s := texts(got.Ports[0].ClusterEndpoints()); s != row.want {
			t.Errorf("%s: endpoints %q, want %q", name, s, row.want)
		}
		said := slices.ContainsFunc(got.Ignored, func(i Ignored) bool { return strings.Contains(i.Why, row.ignored) })
		if row.ignored != "" && !said {
			t.Errorf("%s: nothing ignored because %q: %v", name, row.ignored, got.Ignored)
		}
	}
}

// The numbers and addresses of a Service (P6, P11, P12, P15, P21).
func TestP6P11P15Addresses(t *testing.T) {
	svc := web(func(s *corev1.Service) {
		s.Spec.ClusterIP = "10.96.0.041"
		s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeLoadBalancer, 30080
		s.Spec.ExternalIPs = []string{"192.0.2.1", "192.0.2.001", "fd00::1", "nonsense"}
		s.Spec.LoadBalancerSourceRanges = []string{" 172.30.0.0/24 ", "10.0.0.1/8", "fd00::/8", "10.0.0.0/33"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
			{IP: "172.30.100.1"}, {IP: "172.30.100.2", IPMode: ptr(corev1.LoadBalancerIPModeVIP)},
			{IP: "172.30.100.3", IPMode: ptr(corev1.LoadBalancerIPModeProxy)}, {Hostname: "lb.example"}, {IP: "fd00::9"},
		}
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	})
	p := Of(svc, nil, node1).Ports[0]
	want := Port{
		Name: PortName{Name{Namespace: "ns", Name: "web"}, "http", "TCP"}, ClusterIP: netip.MustParseAddr("10.96.0.41"), Port: 80, NodePort: 30080,
		ExternalIPs:        []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		LoadBalancerIPs:    []netip.Addr{netip.MustParseAddr("172.30.100.1"), netip.MustParseAddr("172.30.100.2")},
		SourceRanges:       []netip.Prefix{netip.MustParsePrefix("172.30.0.0/24"), netip.MustParsePrefix("10.0.0.0/8")},
		NodeInSourceRanges: true, AffinitySeconds: 10800, Endpoints: []Endpoint{},
	}
	compare := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	comparePrefix := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, p, compare, comparePrefix); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	svc.Spec.LoadBalancerSourceRanges = append(svc.Spec.LoadBalancerSourceRanges, "0.0.0.0/0")
	if p := Of(svc, nil, node1).Ports[0]; len(p.SourceRanges) > 0 {
		t.Errorf("with 0.0.0.0/0 the source ranges are %v, want no limit", p.SourceRanges)
	}
}

// Which endpoints serve which policy (P14, P18, P20, P26, P28), with the reasons.
func TestChoose(t *testing.T) {
	const none = ""
	for _, row := range []struct {
		name           string
		tweaks         []func(*corev1.Service)
		endpoints      []string
		cluster, local string // the last parts of the addresses
		has            bool
	}{
		{"P8 all ready ones", nil, []string{"10.0.0.1", "10.0.0.2@node1", "10.0.0.3 notready"}, "1 2", none, true},
		{"P13 none", nil, nil, none, none, false},
		{"P13 none ready", nil, []string{"10.0.0.1 notready", "10.0.0.2 gone"}, none, none, false},
		{"P18 external Local", list(externalLocal), []string{"10.0.0.1", "10.0.0.2@node1"}, "1 2", "2", true},
		{"P14 external Local, none here", list(externalLocal), []string{"10.0.0.1@node2"}, "1", none, true},
		{"P20 internal Local", list(internalLocal), []string{"10.0.0.1", "10.0.0.2@node1"}, none, "2", true},
		{"P14 internal Local, none here", list(internalLocal), []string{"10.0.0.1@node2"}, none, none, true},
		{"P28 terminating while one is ready", nil, []string{"10.0.0.1 terminating", "10.0.0.2"}, "2", none, true},
		{"P28 only terminating", nil, []string{"10.0.0.1 terminating", "10.0.0.2 gone", "10.0.0.3 notready"}, "1", none, true},
		{"P28 Local decides for itself", list(externalLocal), []string{"10.0.0.1@node1 terminating", "10.0.0.2@node2"}, "2", "1", true},
		{"P28 Local, gone here", list(externalLocal), []string{"10.0.0.1@node1 gone", "10.0.0.2@node2"}, "2", none, true},
		{"P28 Local, terminating elsewhere", list(internalLocal), []string{"10.0.0.1@node2 terminating"}, none, none, true},
		{"P26 zone", nil, []string{"10.0.0.1 zone=east", "10.0.0.2 zone=west"}, "1", none, true},
		{"P26 two zones", nil, []string{"10.0.0.1 zone=east zone=west", "10.0.0.2 zone=west"}, "1", none, true},
		{"P26 one without hint", nil, []string{"10.0.0.1 zone=east", "10.0.0.2"}, "1 2", none, true},
		{"P26 no hint for here", nil, []string{"10.0.0.1 zone=north", "10.0.0.2 zone=west"}, "1 2", none, true},
		{"P26 node before zone", nil, []string{"10.0.0.1 zone=east on=node2", "10.0.0.2 zone=east on=node1"}, "2", none, true},
		{"P26 zone where no node", nil, []string{"10.0.0.1 zone=east on=node2", "10.0.0.2 zone=west on=node3"}, "1", none, true},
		{"P26 a not ready one has no say", nil, []string{"10.0.0.1 zone=east", "10.0.0.2 zone=west", "10.0.0.3 notready"}, "1", none, true},
		{"P26 Local ignores hints", list(externalLocal), []string{"10.0.0.1@node1 zone=west", "10.0.0.2@node2 zone=east"}, "2", "1", true},
		{"P28 terminating ignores hints", nil, []string{"10.0.0.1 terminating zone=west"}, "1", none, true},
	} {
		p := Of(web(row.tweaks...), []*discoveryv1.EndpointSlice{slice("web-1", 80, row.endpoints...)}, node1).Ports[0]
		tails := func(addrs []netip.AddrPort) string {
			return strings.NewReplacer("10.0.0.", "", ":80", "").Replace(texts(addrs))
		}
		if got := tails(p.ClusterEndpoints()); got != row.cluster {
			t.Errorf("%s: cluster endpoints %q, want %q", row.name, got, row.cluster)
		}
		if got := tails(p.LocalEndpoints()); got != row.local {
			t.Errorf("%s: local endpoints %q, want %q", row.name, got, row.local)
		}
		if p.HasEndpoints != row.has {
			t.Errorf("%s: has endpoints: %v, want %v", row.name, p.HasEndpoints, row.has)
		}
	}
}

func list(tweaks ...func(*corev1.Service)) []func(*corev1.Service) { return tweaks }

// Every reason there is can be the reason for something.
func TestReasons(t *testing.T) {
	for text, row := range map[string]struct {
		tweak     func(*corev1.Service)
		endpoints []string
		want      Use
		local     bool
	}{
		"10.0.0.1":                    {want: UsedReady},
		"10.0.0.1 terminating":        {want: UsedTerminating},
		"10.0.0.2 terminating":        {endpoints: []string{"10.0.0.3"}, want: NotWhileReady},
		"10.0.0.1 notready":           {want: NotReady},
		"10.0.0.1 gone":               {want: NotServing},
		"10.0.0.1 zone=west":          {endpoints: []string{"10.0.0.3 zone=east"}, want: OtherZoneHint},
		"10.0.0.1 on=node2 zone=east": {endpoints: []string{"10.0.0.3 on=node1"}, want: OtherNodeHint},
		"10.0.0.1@node2":              {tweak: externalLocal, want: OnOtherNode, local: true},
		"10.0.0.4@node1":              {want: PolicyNotUsed, local: true},
	} {
		var tweaks []func(*corev1.Service)
		if row.tweak != nil {
			tweaks = append(tweaks, row.tweak)
		}
		p := Of(web(tweaks...), []*discoveryv1.EndpointSlice{slice("web-1", 80, append(row.endpoints, text)...)}, node1).Ports[0]
		for _, e := range p.Endpoints {
			if !strings.HasPrefix(text, e.Addr.Addr().String()) {
				continue
			}
			got := e.Cluster
			if row.local {
				got = e.Local
			}
			if got != row.want {
				t.Errorf("%s: %v, want %v", text, got, row.want)
			}
		}
	}
}

// What load balancers are told (P30).
func TestP30LocalReady(t *testing.T) {
	svc := web(externalLocal, func(s *corev1.Service) {
		s.Spec.Type, s.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, 30999
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "http2", Port: 81})
	})
	one := slice("web-1", 80, "10.0.0.1@node1", "10.0.0.2@node1 terminating", "10.0.0.3@node2", "10.0.0.4@node1 notready")
	one.Ports = append(one.Ports, discoveryv1.EndpointPort{Name: ptr("http2"), Port: ptr(int32(81))})
	got := Of(svc, []*discoveryv1.EndpointSlice{one}, node1)
	if got.HealthCheckNodePort != 30999 || got.LocalReady != 1 {
		t.Errorf("port %d with %d local endpoints, want 30999 with 1", got.HealthCheckNodePort, got.LocalReady)
	}
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	if got := Of(svc, nil, node1); got.HealthCheckNodePort != 0 {
		t.Errorf("policy Cluster has the health check port %d", got.HealthCheckNodePort)
	}
}

// A dual-stack Service has one plan per family (P38).
func TestP38Families(t *testing.T) {
	svc := web(func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.96.0.41", "fd00:10:96::29"} })
	v6 := slice("web-6", 80, "fd00:10:244::2")
	v6.AddressType = discoveryv1.AddressTypeIPv6
	all := []*discoveryv1.EndpointSlice{slice("web-4", 80, "10.244.1.2"), v6}
	node6 := node1
	node6.Family = IPv6
	for node, want := range map[Node][2]string{node1: {"10.96.0.41", "10.244.1.2:80"}, node6: {"fd00:10:96::29", "[fd00:10:244::2]:80"}} {
		p := Of(svc, all, node).Ports[0]
		if p.ClusterIP.String() != want[0] || texts(p.ClusterEndpoints()) != want[1] {
			t.Errorf("%s: %s -> %s, want %v", node.Family, p.ClusterIP, texts(p.ClusterEndpoints()), want)
		}
	}
}
