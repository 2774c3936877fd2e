package alloc

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/api"
)

func single(t *testing.T) *Allocator { return must(t, []string{"10.96.0.0/12"}, "30000-32767") }

func must(t *testing.T, cidrs []string, ports string) *Allocator {
	t.Helper()
	a, err := New(cidrs, ports)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// assign does what a create or an update does: prepare, then allocate.
func assign(a *Allocator, next, old *corev1.Service, taken Taken) (Grant, error) {
	kind := api.ByResource("", "services")
	if old == nil {
		kind.PrepareForCreate(next)
	} else {
		kind.PrepareForUpdate(next, old)
	}
	return a.Assign(next, old, taken)
}

// svc makes a Service; words are "nodeport", "lb", "external", "local", "headless".
func svc(words string, ports ...int32) *corev1.Service {
	s := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app": "x"}}}
	s.Name = "web"
	for word := range strings.FieldsSeq(words) {
		switch word {
		case "nodeport":
			s.Spec.Type = corev1.ServiceTypeNodePort
		case "lb":
			s.Spec.Type = corev1.ServiceTypeLoadBalancer
		case "external":
			s.Spec.Type = corev1.ServiceTypeExternalName
		case "local":
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		case "headless":
			s.Spec.ClusterIP = corev1.ClusterIPNone
		}
	}
	for i, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Protocol: corev1.ProtocolTCP, Port: p})
	}
	return s
}

func TestCreate(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     *corev1.Service
		claims map[string]int // prefix -> how many
	}{
		{"cluster ip", svc("", 80), map[string]int{"clusterips/": 1}},
		{"headless", svc("headless", 80), nil},
		{"external name", svc("external"), nil},
		{"node port", svc("nodeport", 80, 443), map[string]int{"clusterips/": 1, "nodeports/": 2}},
		{"load balancer, local", svc("lb local", 80), map[string]int{"clusterips/": 1, "nodeports/": 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := assign(single(t), c.in, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]int{}
			for _, name := range g.Claim {
				got[name[:strings.Index(name, "/")+1]]++
			}
			if diff := cmp.Diff(c.claims, got); diff != "" && len(got)+len(c.claims) > 0 {
				t.Error(diff)
			}
			if len(g.Release) > 0 {
				t.Errorf("releases %v", g.Release)
			}
		})
	}
}

func TestSharedNodePort(t *testing.T) {
	s := svc("nodeport", 53, 53)
	s.Spec.Ports[1].Protocol = corev1.ProtocolUDP
	g, err := assign(single(t), s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := s.Spec.Ports; p[0].NodePort == 0 || p[0].NodePort != p[1].NodePort {
		t.Errorf("TCP and UDP of one port have node ports %d and %d", p[0].NodePort, p[1].NodePort)
	}
	if len(g.Claim) != 2 {
		t.Errorf("claims %v", g.Claim)
	}
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(*corev1.Service)
		taken string
		want  string // part of the error, "" for none
	}{
		{"free ip", func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.7" }, "", ""},
		{"taken ip", func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.7" }, "clusterips/10.96.0.7",
			`spec.clusterIPs: Invalid value: ["10.96.0.7"]: failed to allocate IP 10.96.0.7: provided IP is already allocated`},
		{"foreign ip", func(s *corev1.Service) { s.Spec.ClusterIP = "192.0.2.1" }, "",
			`spec.clusterIPs: Invalid value: ["192.0.2.1"]: failed to allocate IP 192.0.2.1: the provided network does not match the current range`},
		{"network address", func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.0" }, "", "does not match the current range"},
		{"broadcast address", func(s *corev1.Service) { s.Spec.ClusterIP = "10.111.255.255" }, "", "does not match the current range"},
		{"free port", func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 }, "", ""},
		{"taken port", func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 }, "nodeports/30080",
			"spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"},
		{"foreign port", func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 80 }, "",
			"spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"},
		{"two families", func(s *corev1.Service) { s.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyRequireDualStack) }, "",
			"this cluster is not configured for dual-stack services"},
		{"other family", func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }, "",
			"not configured on this cluster"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := svc("nodeport", 80)
			c.set(s)
			_, err := assign(single(t), s, nil, Taken{c.taken: true})
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	created := func(words string, ports ...int32) *corev1.Service {
		s := svc(words, ports...)
		if _, err := assign(single(t), s, nil, nil); err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain, node, local := created("", 80), created("nodeport", 80), created("lb local", 80)
	ip := func(s *corev1.Service) string { return "clusterips/" + s.Spec.ClusterIP }
	port := func(s *corev1.Service) string { return portName(s.Spec.Ports[0].NodePort) }

	for _, c := range []struct {
		name    string
		old     *corev1.Service
		next    *corev1.Service
		keep    []string // names held before and after
		release []string
		claims  int
	}{
		{"nothing sent, nothing lost", node, svc("nodeport", 80), []string{ip(node), port(node)}, nil, 0},
		{"to node port", plain, svc("nodeport", 80), []string{ip(plain)}, nil, 1},
		{"to cluster ip", node, svc("", 80), []string{ip(node)}, []string{port(node)}, 0},
		{"to external name", node, svc("external"), nil, []string{ip(node), port(node)}, 0},
		{"another port of the same name", node, svc("nodeport", 81), []string{ip(node), port(node)}, nil, 0},
		{"a second port", node, svc("nodeport", 80, 443), []string{ip(node), port(node)}, nil, 1},
		{"policy to cluster", local, svc("lb", 80), []string{ip(local), port(local)}, []string{portName(local.Spec.HealthCheckNodePort)}, 0},
		{"from external name", svc("external"), svc("", 80), nil, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.old.DeepCopy()
			g, err := assign(single(t), c.next, c.old, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range c.keep {
				if !slices.Contains(Names(c.next), name) {
					t.Errorf("lost %s, has %v", name, Names(c.next))
				}
			}
			slices.Sort(g.Release)
			slices.Sort(c.release)
			if diff := cmp.Diff(c.release, g.Release); diff != "" && len(c.release)+len(g.Release) > 0 {
				t.Error("release", diff)
			}
			if len(g.Claim) != c.claims {
				t.Errorf("claims %v, want %d", g.Claim, c.claims)
			}
			if diff := cmp.Diff(before, c.old); diff != "" {
				t.Error("the stored Service was changed:", diff)
			}
		})
	}
}

func TestDualStack(t *testing.T) {
	a := must(t, []string{"10.96.0.0/12", "fd00:10:96::/112"}, "30000-32767")
	s := svc("", 80)
	s.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyPreferDualStack)
	if _, err := assign(a, s, nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(s.Spec.ClusterIPs) != 2 || FamilyOf(netip.MustParseAddr(s.Spec.ClusterIPs[1])) != corev1.IPv6Protocol {
		t.Fatalf("clusterIPs %v", s.Spec.ClusterIPs)
	}
	one := s.DeepCopy()
	one.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicySingleStack)
	g, err := assign(a, one, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Grant{Release: []string{"clusterips/" + s.Spec.ClusterIPs[1]}}, g); diff != "" {
		t.Error(diff)
	}
}

// TestFull takes all of a small range: every value once, none twice, then an error.
func TestFull(t *testing.T) {
	a := must(t, []string{"10.0.0.0/28"}, "30000-30019")
	taken := Taken{}
	for range 14 {
		g, err := assign(a, svc("nodeport", 80), nil, taken)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range g.Claim {
			if taken[name] {
				t.Fatalf("%s was given twice", name)
			}
			taken[name] = true
		}
	}
	if _, err := assign(a, svc("", 80), nil, taken); err == nil || !strings.Contains(err.Error(), "failed to allocate a serviceIP: range is full") {
		t.Errorf("got %v", err)
	}
	headless := svc("headless nodeport", 1, 2, 3, 4, 5, 6)
	if _, err := assign(a, headless, nil, taken); err != nil {
		t.Errorf("six ports are left: %v", err)
	}
	if _, err := a.ports.pick(Taken{}); err != nil {
		t.Error(err)
	}
}

// TestWithin: addresses come from the first of several networks that has one left, may
// be asked for in each of them, and in no other.
func TestWithin(t *testing.T) {
	a := single(t).Within([]string{"10.0.0.0/30", "fd00::/112", "nonsense", "10.1.0.0/24"})
	taken := Taken{}
	var got []string
	for range 3 {
		s := svc("", 80)
		g, err := assign(a, s, nil, taken)
		if err != nil {
			t.Fatal(err)
		}
		taken[g.Claim[0]] = true
		got = append(got, s.Spec.ClusterIP)
	}
	if first := got[:2]; !slices.Contains(first, "10.0.0.1") || !slices.Contains(first, "10.0.0.2") || !strings.HasPrefix(got[2], "10.1.0.") {
		t.Errorf("got %v", got)
	}
	for ip, want := range map[string]string{"10.1.0.9": "", "10.1.0.255": "does not match", "10.96.0.7": "does not match", "fd00::7": "not configured"} {
		s := svc("", 80)
		s.Spec.ClusterIP = ip
		if _, err := assign(a, s, nil, taken); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", ip, err)
		}
	}
	if _, err := assign(single(t).Within(nil), svc("", 80), nil, nil); err == nil || !strings.Contains(err.Error(), "range is full") {
		t.Errorf("from no network: %v", err)
	}
	if a.First() != netip.MustParseAddr("10.96.0.1") {
		t.Errorf("the first address of the cluster became %s", a.First())
	}
}

func TestUpperBandFirst(t *testing.T) {
	a := single(t)
	for range 100 {
		ip, err := a.ips[0].pick(nil)
		if err != nil {
			t.Fatal(err)
		}
		if ip.Compare(netip.MustParseAddr("10.96.1.0")) <= 0 {
			t.Fatalf("%s is in the band that is kept for those who ask", ip)
		}
	}
	if got := a.First().String(); got != "10.96.0.1" {
		t.Errorf("first address %s", got)
	}
}

func TestBadRanges(t *testing.T) {
	for _, c := range []struct {
		cidrs []string
		ports string
	}{
		{nil, "30000-32767"},
		{[]string{"10.96.0.0/12", "10.0.0.0/16"}, "30000-32767"},
		{[]string{"10.96.0.0/31"}, "30000-32767"},
		{[]string{"nonsense"}, "30000-32767"},
		{[]string{"10.96.0.0/12"}, "32767-30000"},
		{[]string{"10.96.0.0/12"}, "30000"},
		{[]string{"10.96.0.0/12"}, "0-70000"},
	} {
		if _, err := New(c.cidrs, c.ports); err == nil {
			t.Errorf("%v %q was accepted", c.cidrs, c.ports)
		}
	}
}
