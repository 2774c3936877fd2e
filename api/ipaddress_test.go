package api

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

func TestInvalidIPAddresses(t *testing.T) {
	base := func() *networkingv1.IPAddress {
		return &networkingv1.IPAddress{ObjectMeta: metaCluster("10.96.0.7"), Spec: networkingv1.IPAddressSpec{
			ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "web"}}}
	}
	created(t, ipAddresses, base, []invalidCase[networkingv1.IPAddress]{
		{"no parent", func(ip *networkingv1.IPAddress) { ip.Spec.ParentRef = nil }, []string{"spec.parentRef: Required value"}},
		{"empty parent", func(ip *networkingv1.IPAddress) { *ip.Spec.ParentRef = networkingv1.ParentReference{} },
			[]string{"spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"}},
		{"bad parent", func(ip *networkingv1.IPAddress) {
			*ip.Spec.ParentRef = networkingv1.ParentReference{Group: "example.com", Resource: "a/b", Name: "..", Namespace: "c%d"}
		}, []string{`spec.parentRef.resource: Invalid value: "a/b": may not contain '/'`, `spec.parentRef.name: Invalid value: "..": may not be '..'`,
			`spec.parentRef.namespace: Invalid value: "c%d": may not contain '%'`}},
		{"IPv6", func(ip *networkingv1.IPAddress) { ip.Name = "fd00::7" }, nil},
		{"IPv6, long", func(ip *networkingv1.IPAddress) { ip.Name = "fd00:0::7" },
			[]string{`metadata.name: Invalid value: "fd00:0::7": must be in canonical form ("fd00::7")`}},
	})
	updated(t, ipAddresses, base, []invalidCase[networkingv1.IPAddress]{
		{"label", func(ip *networkingv1.IPAddress) { ip.Labels = map[string]string{"a": "b"} }, nil},
	})
	old, next := base(), base()
	next.Spec.ParentRef.Name = "other"
	if errs := ipAddresses.BeforeUpdate(next, old); len(errs) != 1 || errs[0].Detail != "field is immutable" {
		t.Errorf("another parent: %v", errs)
	}
}

func TestInvalidServiceCIDRs(t *testing.T) {
	with := func(cidrs ...string) func(*networkingv1.ServiceCIDR) {
		return func(c *networkingv1.ServiceCIDR) { c.Spec.CIDRs = cidrs }
	}
	base := func() *networkingv1.ServiceCIDR {
		c := &networkingv1.ServiceCIDR{ObjectMeta: metaCluster("more")}
		with("10.0.0.0/24")(c)
		return c
	}
	created(t, serviceCIDRs, base, []invalidCase[networkingv1.ServiceCIDR]{
		{"none", with(), []string{"spec.cidrs: Required value: at least one CIDR required"}},
		{"dual stack", with("fd00::/112", "10.0.0.0/24"), nil},
		{"one family twice", with("10.0.0.0/24", "10.1.0.0/24"), []string{
			`spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`}},
		{"nonsense", with("10.0.0.0"), []string{`spec.cidrs[0]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		{"an address in it", with("10.0.0.1/24"), []string{
			`spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length`}},
	})
	updated(t, serviceCIDRs, base, []invalidCase[networkingv1.ServiceCIDR]{
		{"moved", with("10.0.1.0/24"), []string{`spec.cidrs[0]: Invalid value: "10.0.1.0/24": field is immutable`}},
		{"a second family", with("10.0.0.0/24", "fd00::/112"), nil},
		{"the same family", with("10.0.0.0/24", "10.0.1.0/24"), []string{
			`spec.cidrs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`}},
		{"three", with("10.0.0.0/24", "fd00::/112", "10.0.1.0/24"), []string{
			`spec.cidrs: Invalid value: ["10.0.0.0/24","fd00::/112","10.0.1.0/24"]: field is immutable`}},
	})
}
