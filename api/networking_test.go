package api

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestIngresses(t *testing.T) {
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	rule := func(host, path string, kind networkingv1.PathType) networkingv1.IngressRule {
		return networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: &kind, Backend: backend}}}}}
	}
	base := func() *networkingv1.Ingress {
		return &networkingv1.Ingress{ObjectMeta: metaOf("web"), Spec: networkingv1.IngressSpec{
			IngressClassName: new("nginx"),
			Rules:            []networkingv1.IngressRule{rule("a.example", "/", networkingv1.PathTypePrefix)}}}
	}
	paths := func(paths ...string) func(*networkingv1.Ingress) {
		return func(i *networkingv1.Ingress) {
			i.Spec.Rules = nil
			for _, p := range paths {
				i.Spec.Rules = append(i.Spec.Rules, rule("", p, networkingv1.PathTypeExact))
			}
		}
	}
	onBackend := func(tweak func(*networkingv1.IngressBackend)) func(*networkingv1.Ingress) {
		return func(i *networkingv1.Ingress) {
			i.Spec.DefaultBackend = backend.DeepCopy()
			tweak(i.Spec.DefaultBackend)
		}
	}
	const subdomain = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
	created(t, ingresses, base, []invalidCase[networkingv1.Ingress]{
		{"nothing", func(i *networkingv1.Ingress) { i.Spec.Rules = nil }, []string{
			"spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"}},
		{"paths", paths("", "a", "/a//b", "/a/./b", "/a%2fb", "/a/..", "/a/."), []string{
			`spec.rules[0].http.paths[0].path: Invalid value: "": must be an absolute path`,
			`spec.rules[1].http.paths[0].path: Invalid value: "a": must be an absolute path`,
			`spec.rules[2].http.paths[0].path: Invalid value: "/a//b": must not contain '//'`,
			`spec.rules[3].http.paths[0].path: Invalid value: "/a/./b": must not contain '/./'`,
			`spec.rules[4].http.paths[0].path: Invalid value: "/a%2fb": must not contain '%2f'`,
			`spec.rules[5].http.paths[0].path: Invalid value: "/a/..": cannot end with '/..'`,
			`spec.rules[6].http.paths[0].path: Invalid value: "/a/.": cannot end with '/.'`}},
		{"no path is needed", func(i *networkingv1.Ingress) {
			i.Spec.Rules[0] = rule("", "", networkingv1.PathTypeImplementationSpecific)
		}, nil},
		{"unknown path type", func(i *networkingv1.Ingress) { i.Spec.Rules[0] = rule("", "x", "Glob") }, []string{
			`spec.rules[0].http.paths[0].pathType: Unsupported value: "Glob": supported values: "Exact", "ImplementationSpecific", "Prefix"`}},
		{"no path type", func(i *networkingv1.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].PathType = nil }, []string{
			`spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified`}},
		{"no paths", func(i *networkingv1.Ingress) { i.Spec.Rules[0].HTTP.Paths = nil }, []string{`spec.rules[0].http.paths: Required value`}},
		{"hosts", func(i *networkingv1.Ingress) {
			i.Spec.Rules[0].Host = "1.2.3.4"
			i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"*.example", "*", "_"}, SecretName: "_"}}
		}, []string{
			`spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address`,
			`spec.tls[0].hosts[1]: Invalid value: "*": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
			`spec.tls[0].hosts[2]: Invalid value: "_": ` + subdomain, `spec.tls[0].secretName: Invalid value: "_": ` + subdomain}},
		{"both backends", onBackend(func(b *networkingv1.IngressBackend) {
			b.Resource = &corev1.TypedLocalObjectReference{}
		}), []string{`spec.defaultBackend: Invalid value: "": cannot set both resource and service backends`}},
		{"no backend", onBackend(func(b *networkingv1.IngressBackend) { b.Service = nil }), []string{
			`spec.defaultBackend: Invalid value: "": resource or service backend is required`}},
		{"resource", onBackend(func(b *networkingv1.IngressBackend) {
			*b = networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{Name: "a/b"}}
		}), []string{`spec.defaultBackend.resource.kind: Required value`,
			`spec.defaultBackend.resource.name: Invalid value: "a/b": may not contain '/'`}},
		{"no service, no port", onBackend(func(b *networkingv1.IngressBackend) { *b.Service = networkingv1.IngressServiceBackend{} }), []string{
			`spec.defaultBackend.service.name: Required value`, `spec.defaultBackend: Required value: port name or number is required`}},
		{"two ports", onBackend(func(b *networkingv1.IngressBackend) { b.Service.Port.Name = "http" }), []string{
			`spec.defaultBackend: Invalid value: "": cannot set both port name & port number`}},
		{"port", onBackend(func(b *networkingv1.IngressBackend) { b.Service.Port.Number = 70000 }), []string{
			`spec.defaultBackend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive`}},
		{"classes", func(i *networkingv1.Ingress) { i.Annotations = map[string]string{"kubernetes.io/ingress.class": "old"} }, []string{
			"annotations.kubernetes.io/ingress.class: Invalid value: \"old\": must match `ingressClassName` when both are specified"}},
	})
}

// TestIngressStaysAsItWas: what an older server stored can still be updated.
func TestIngressStaysAsItWas(t *testing.T) {
	old := &networkingv1.Ingress{ObjectMeta: metaOf("web"), Spec: networkingv1.IngressSpec{
		TLS:   []networkingv1.IngressTLS{{SecretName: "_"}},
		Rules: []networkingv1.IngressRule{{Host: "*.example", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{}}}},
	}, Status: networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "010.0.0.1"}}}}}
	next := old.DeepCopy()
	next.Labels = map[string]string{"a": "b"}
	wantErrors(t, ingresses.BeforeUpdate(next, old))
	if next.Generation != old.Generation {
		t.Error("labels are not counted as a generation")
	}
	next = old.DeepCopy()
	next.Status.LoadBalancer.Ingress = append(next.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{IP: "010.0.0.2"},
		networkingv1.IngressLoadBalancerIngress{Hostname: "1.2.3.4"})
	wantErrors(t, ingresses.BeforeStatusUpdate(next, old),
		`status.loadBalancer.ingress[1].ip: Invalid value: "010.0.0.2": must not have leading 0s`,
		`status.loadBalancer.ingress[2].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address`)
	if w := ingresses.StatusWarnings(old); len(w) != 1 || !strings.HasSuffix(w[0], `non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"`) {
		t.Errorf("warnings: %q", w)
	}
}

func TestIngressWarnings(t *testing.T) {
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"kubernetes.io/ingress.class": "x"}}}
	if w := ingresses.Warnings(i, nil); !slices.Equal(w, []string{`annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`}) {
		t.Errorf("create: %q", w)
	}
	if w := ingresses.Warnings(i, i); len(w) > 0 {
		t.Errorf("update: %q", w)
	}
}

func TestIngressClasses(t *testing.T) {
	base := func() *networkingv1.IngressClass {
		return &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx", UID: "1", ResourceVersion: "1"},
			Spec: networkingv1.IngressClassSpec{Controller: "example.com/nginx", Parameters: &networkingv1.IngressClassParametersReference{Kind: "Settings", Name: "fast"}}}
	}
	scope := func(scope string, namespace *string) func(*networkingv1.IngressClass) {
		return func(c *networkingv1.IngressClass) {
			c.Spec.Parameters.Scope, c.Spec.Parameters.Namespace = &scope, namespace
		}
	}
	created(t, ingressClasses, base, []invalidCase[networkingv1.IngressClass]{
		{"in a namespace", scope("Namespace", new("default")), nil},
		{"controller", func(c *networkingv1.IngressClass) { c.Spec.Controller = "nginx" }, []string{
			`spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme.io/foo")`}},
		{"no namespace", scope("Namespace", nil), []string{"spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"}},
		{"a namespace too much", scope("Cluster", new("default")), []string{"spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"}},
		{"scope", scope("Galaxy", nil), []string{`spec.parameters.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespace"`}},
		{"kind", func(c *networkingv1.IngressClass) { c.Spec.Parameters.Kind = "" }, []string{`spec.parameters.kind: Required value`}},
	})
	updated(t, ingressClasses, base, []invalidCase[networkingv1.IngressClass]{
		{"parameters", func(c *networkingv1.IngressClass) { c.Spec.Parameters = nil }, nil},
		{"controller", func(c *networkingv1.IngressClass) { c.Spec.Controller = "example.com/other" }, []string{
			`spec.controller: Invalid value: "example.com/other": field is immutable`}},
	})
}

func TestNetworkPolicies(t *testing.T) {
	base := func() *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: metaOf("web"), Spec: networkingv1.NetworkPolicySpec{
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(80)), EndPort: new(int32(90))}},
				From:  []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}}}}},
			Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}},
		}}
	}
	p := base()
	networkPolicies.SetDefaults(p)
	if got := p.Spec.PolicyTypes; !slices.Equal(got, []networkingv1.PolicyType{"Ingress", "Egress"}) || *p.Spec.Ingress[0].Ports[0].Protocol != "TCP" {
		t.Errorf("defaults: %+v", p.Spec)
	}
	port := func(tweak func(*networkingv1.NetworkPolicyPort)) func(*networkingv1.NetworkPolicy) {
		return func(p *networkingv1.NetworkPolicy) { tweak(&p.Spec.Ingress[0].Ports[0]) }
	}
	peer := func(tweak func(*networkingv1.NetworkPolicyPeer)) func(*networkingv1.NetworkPolicy) {
		return func(p *networkingv1.NetworkPolicy) { tweak(&p.Spec.Ingress[0].From[0]) }
	}
	created(t, networkPolicies, base, []invalidCase[networkingv1.NetworkPolicy]{
		{"protocol", port(func(p *networkingv1.NetworkPolicyPort) { p.Protocol = new(corev1.Protocol("ICMP")) }), []string{
			`spec.ingress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"`}},
		{"ports", port(func(p *networkingv1.NetworkPolicyPort) {
			p.Port, p.EndPort = new(intstr.FromInt32(70000)), new(int32(1))
		}), []string{
			`spec.ingress[0].ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive`,
			"spec.ingress[0].ports[0].endPort: Invalid value: 1: must be greater than or equal to `port`"}},
		{"named", port(func(p *networkingv1.NetworkPolicyPort) { p.Port = new(intstr.FromString("http")) }), []string{
			"spec.ingress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is non-numeric"}},
		{"end alone", port(func(p *networkingv1.NetworkPolicyPort) { p.Port = nil }), []string{
			"spec.ingress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is not specified"}},
		{"no peer", peer(func(p *networkingv1.NetworkPolicyPeer) { p.IPBlock = nil }), []string{`spec.ingress[0].from[0]: Required value: must specify a peer`}},
		{"two peers", peer(func(p *networkingv1.NetworkPolicyPeer) { p.PodSelector = &metav1.LabelSelector{} }), []string{
			`spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer`}},
		{"block", peer(func(p *networkingv1.NetworkPolicyPeer) { p.IPBlock.CIDR = "" }), []string{`spec.ingress[0].from[0].ipBlock.cidr: Required value`}},
		{"except", peer(func(p *networkingv1.NetworkPolicyPeer) {
			p.IPBlock.Except = []string{"192.168.0.0/16", "10.0.0.0/8", "x"}
		}), []string{
			"spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"192.168.0.0/16\": must be a strict subset of `cidr`",
			"spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
			`spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		{"types", func(p *networkingv1.NetworkPolicy) { p.Spec.PolicyTypes = []networkingv1.PolicyType{"Sideways"} }, []string{
			`spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"`}},
	})

	old := base()
	old.Spec.Ingress[0].From[0].IPBlock = &networkingv1.IPBlock{CIDR: "010.0.0.0/8"}
	networkPolicies.SetDefaults(old)
	next := old.DeepCopy()
	next.Labels = map[string]string{"a": "b"}
	wantErrors(t, networkPolicies.BeforeUpdate(next, old))
	wantErrors(t, networkPolicies.BeforeCreate(old.DeepCopy()),
		`spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "010.0.0.0/8": must not have leading 0s in IP or prefix length`)
	if w := networkPolicies.Warnings(old, nil); len(w) != 1 || !strings.Contains(w[0], `use "10.0.0.0/8"`) {
		t.Errorf("warnings: %q", w)
	}
}
