package alloc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/api"
)

// describe says what a Service has, without saying which: "NodePort 4+6 np2 SingleStack".
func describe(s *corev1.Service) string {
	words := []string{string(s.Spec.Type)}
	var families []string
	for _, ip := range s.Spec.ClusterIPs {
		switch {
		case ip == corev1.ClusterIPNone:
			families = append(families, "None")
		case strings.Contains(ip, ":"):
			families = append(families, "6")
		default:
			families = append(families, "4")
		}
	}
	words = append(words, strings.Join(families, "+"))
	ports := 0
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			ports++
		}
	}
	if ports > 0 {
		words = append(words, fmt.Sprint("np", ports))
	}
	if s.Spec.HealthCheckNodePort != 0 {
		words = append(words, "hc")
	}
	var asked []string
	for _, f := range s.Spec.IPFamilies {
		asked = append(asked, strings.TrimPrefix(string(f), "IPv"))
	}
	if p := s.Spec.IPFamilyPolicy; p != nil {
		words = append(words, string(*p)+"("+strings.Join(asked, "+")+")")
	}
	if len(s.Status.LoadBalancer.Ingress) > 0 {
		words = append(words, "lb")
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// TestTransitions changes a stored Service the way clients do, with all its fields sent
// back, and goes all the way an update goes: prepare, allocate, check.
func TestTransitions(t *testing.T) {
	type change = func(*corev1.ServiceSpec)
	kind := func(k corev1.ServiceType) change { return func(s *corev1.ServiceSpec) { s.Type = k } }
	external := func(s *corev1.ServiceSpec) { s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "db.example" }
	policy := func(p corev1.IPFamilyPolicy) change { return func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = &p } }
	traffic := func(p corev1.ServiceExternalTrafficPolicy) change {
		return func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = p }
	}
	none := func(*corev1.ServiceSpec) {}
	const (
		fixed  = "may not change once set"
		v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	)
	single, dual := []string{"10.96.0.0/12"}, []string{"10.96.0.0/12", "fd00:10:96::/112"}
	prefer := policy(corev1.IPFamilyPolicyPreferDualStack)
	for _, c := range []struct {
		name     string
		cidrs    []string
		from     string // see svc
		made     change // on the way to the stored one
		change   change
		want     string // what comes out, or
		refused  string // a part of why it doesn't
		released int
	}{
		// Types.
		{"nothing", single, "lb local", none, none, "LoadBalancer 4 np2 hc SingleStack(4) lb", "", 0},
		{"cluster IP to node port", single, "", none, kind("NodePort"), "NodePort 4 np2 SingleStack(4)", "", 0},
		{"cluster IP to balancer", single, "", none, kind("LoadBalancer"), "LoadBalancer 4 np2 SingleStack(4)", "", 0},
		{"node port to cluster IP", single, "nodeport", none, kind("ClusterIP"), "ClusterIP 4 SingleStack(4)", "", 2},
		{"node port to balancer", single, "nodeport", none, kind("LoadBalancer"), "LoadBalancer 4 np2 SingleStack(4)", "", 0},
		{"balancer to node port", single, "lb local", none, kind("NodePort"), "NodePort 4 np2 SingleStack(4)", "", 1},
		{"balancer to cluster IP", single, "lb local", none, kind("ClusterIP"), "ClusterIP 4 SingleStack(4)", "", 3},
		{"cluster IP to external name", dual, "", prefer, external, "ExternalName", "", 2},
		{"node port to external name", single, "nodeport", none, external, "ExternalName", "", 3},
		{"balancer to external name", single, "lb local", none, external, "ExternalName", "", 4},
		{"external name to cluster IP", single, "external", none, kind("ClusterIP"), "ClusterIP 4 SingleStack(4)", "", 0},
		{"external name to node port", single, "external", none, kind("NodePort"), "NodePort 4 np2 SingleStack(4)", "", 0},
		{"external name to headless", single, "external", none, func(s *corev1.ServiceSpec) {
			s.Type, s.ClusterIP = corev1.ServiceTypeClusterIP, corev1.ClusterIPNone
		}, "ClusterIP None SingleStack(4)", "", 0},
		{"headless to external name", single, "headless", none, external, "ExternalName", "", 0},
		{"headless to node port", single, "headless", none, kind("NodePort"), "", "may not be set to 'None' for NodePort services", 0},
		{"cluster IP to headless", single, "", none, func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }, "", fixed, 0},
		{"headless to cluster IP", single, "headless", none, func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.77" }, "", fixed, 0},
		{"headless, cluster IP cleared", single, "headless", none, func(s *corev1.ServiceSpec) { s.ClusterIP, s.ClusterIPs = "", nil }, "ClusterIP None SingleStack(4)", "", 0},

		// Addresses and ports that clients ask for.
		{"cleared", single, "nodeport", none, func(s *corev1.ServiceSpec) {
			s.ClusterIP, s.ClusterIPs, s.Ports[0].NodePort = "", nil, 0
		}, "NodePort 4 np2 SingleStack(4)", "", 0},
		{"another cluster IP", single, "", none, func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.77" }, "", fixed, 0},
		{"another one, of nowhere", single, "", none, func(s *corev1.ServiceSpec) { s.ClusterIP = "192.0.2.1" }, "", fixed, 0},
		{"another one, and no list", single, "", none, func(s *corev1.ServiceSpec) { s.ClusterIP, s.ClusterIPs = "10.96.0.77", nil }, "", fixed, 0},
		{"another node port", single, "nodeport", none, func(s *corev1.ServiceSpec) { s.Ports[0].NodePort = 30099 }, "NodePort 4 np2 SingleStack(4)", "", 1},
		{"a port less", single, "nodeport", none, func(s *corev1.ServiceSpec) { s.Ports = s.Ports[:1] }, "NodePort 4 np1 SingleStack(4)", "", 1},
		{"a port less and to cluster IP", single, "nodeport", none, func(s *corev1.ServiceSpec) {
			s.Ports, s.Type = s.Ports[:1], corev1.ServiceTypeClusterIP
		}, "ClusterIP 4 SingleStack(4)", "", 2},
		{"a new node port and to cluster IP", single, "nodeport", none, func(s *corev1.ServiceSpec) {
			s.Ports[0].NodePort, s.Type = 30099, corev1.ServiceTypeClusterIP
		}, "", "may not be used when `type` is 'ClusterIP'", 0},
		{"no node ports for a balancer", single, "lb", none, func(s *corev1.ServiceSpec) {
			s.AllocateLoadBalancerNodePorts = new(false)
		}, "LoadBalancer 4 np2 SingleStack(4) lb", "", 0},
		{"none, and those cleared", single, "lb", none, func(s *corev1.ServiceSpec) {
			s.AllocateLoadBalancerNodePorts = new(false)
			s.Ports[0].NodePort, s.Ports[1].NodePort = 0, 0
		}, "LoadBalancer 4 SingleStack(4) lb", "", 2},

		// Health checks.
		{"to local", single, "lb", none, traffic("Local"), "LoadBalancer 4 np2 hc SingleStack(4) lb", "", 0},
		{"to cluster", single, "lb local", none, traffic("Cluster"), "LoadBalancer 4 np2 SingleStack(4) lb", "", 1},
		{"another health check port", single, "lb local", none, func(s *corev1.ServiceSpec) { s.HealthCheckNodePort = 30099 }, "", "spec.healthCheckNodePort: Forbidden: field is immutable", 0},
		{"another class", single, "lb", none, func(s *corev1.ServiceSpec) { s.LoadBalancerClass = new("a/b") }, "", fixed, 0},

		// Families.
		{"upgrade", dual, "", none, prefer, "ClusterIP 4+6 PreferDualStack(4+6)", "", 0},
		{"upgrade, required", dual, "", none, policy(corev1.IPFamilyPolicyRequireDualStack), "ClusterIP 4+6 RequireDualStack(4+6)", "", 0},
		{"upgrade where there is one", single, "", none, prefer, "ClusterIP 4 PreferDualStack(4)", "", 0},
		{"required where there is one", single, "", none, policy(corev1.IPFamilyPolicyRequireDualStack), "", "this cluster is not configured for dual-stack services", 0},
		{"downgrade", dual, "", prefer, policy(corev1.IPFamilyPolicySingleStack), "ClusterIP 4 SingleStack(4)", "", 1},
		{"downgrade of a node port", dual, "nodeport", prefer, policy(corev1.IPFamilyPolicySingleStack), "NodePort 4 np2 SingleStack(4)", "", 1},
		{"a family less, by itself", dual, "", prefer, func(s *corev1.ServiceSpec) { s.IPFamilies = s.IPFamilies[:1] }, "", "must be 'SingleStack' to release the secondary IP family", 0},
		{"an address less, by itself", dual, "", prefer, func(s *corev1.ServiceSpec) { s.ClusterIPs = s.ClusterIPs[:1] }, "", "must be 'SingleStack' to release the secondary cluster IP", 0},
		{"two families, one policy", dual, "", none, func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{v4, v6} }, "", "when multiple IP families are specified", 0},
		{"families exchanged", dual, "", prefer, func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{v6, v4} }, "", "expected an IPv6 value as indicated by `ipFamilies[0]`", 0},
		{"an address of a family that is not there", single, "external", none, func(s *corev1.ServiceSpec) {
			s.Type, s.ClusterIP = corev1.ServiceTypeClusterIP, "fd00::1"
		}, "", "IPv6 is not configured on this cluster", 0},
		{"headless without a selector", single, "external", none, func(s *corev1.ServiceSpec) {
			s.Type, s.ClusterIP, s.Selector = corev1.ServiceTypeClusterIP, corev1.ClusterIPNone, nil
		}, "ClusterIP None RequireDualStack(4+6)", "", 0},
		{"to external name, but with another policy", dual, "", none, func(s *corev1.ServiceSpec) { external(s); prefer(s) }, "", "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, services := must(t, c.cidrs, "30000-32767"), api.ByResource("", "services")
			old := svc(c.from, 80, 443)
			if old.Spec.Type == corev1.ServiceTypeExternalName {
				old.Spec.ExternalName = "db.example"
			}
			old.Namespace, old.UID, old.ResourceVersion = "default", "1", "1"
			c.made(&old.Spec)
			if _, err := assign(a, old, nil, nil); err != nil {
				t.Fatal(err)
			}
			if errs := services.CheckCreate(old); len(errs) > 0 {
				t.Fatal(errs)
			}
			if old.Spec.Type == corev1.ServiceTypeLoadBalancer {
				old.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.30.100.1", IPMode: new(corev1.LoadBalancerIPModeVIP)}}
			}
			next := old.DeepCopy()
			c.change(&next.Spec)
			grant, err := assign(a, next, old, nil)
			if err == nil {
				err = services.CheckUpdate(next, old).ToAggregate()
			}
			if c.refused != "" || err != nil {
				if c.refused == "" || err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v, %s, want %q", err, describe(next), c.refused)
				}
				return
			}
			if got := describe(next); got != c.want || len(grant.Release) != c.released {
				t.Errorf("got %q and releases %v, want %q, %d", got, grant.Release, c.want, c.released)
			}
		})
	}
}
