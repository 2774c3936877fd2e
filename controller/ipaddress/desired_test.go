package ipaddress

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
)

func TestJudge(t *testing.T) {
	ip := netip.MustParseAddr("10.96.0.7")
	svc := func(name string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"}}}
	}
	of := func(name string) *networkingv1.IPAddress { return api.ServiceIPAddress(ip, "default", name) }
	unlabelled, gateway, modified := of("web"), of("web"), of("web")
	unlabelled.Labels = nil
	gateway.Labels = nil
	gateway.Spec.ParentRef.Resource = "gateways"
	modified.Spec.ParentRef.Resource = "gateways"
	for _, c := range []struct {
		name         string
		have         *networkingv1.IPAddress
		owners       []*corev1.Service
		reason       string
		remove, make bool
	}{
		{"as it should be", of("web"), []*corev1.Service{svc("web")}, "", false, false},
		{"deleted by hand", nil, []*corev1.Service{svc("web")}, "ClusterIPNotAllocated", false, true},
		{"another's", of("other"), []*corev1.Service{svc("web")}, "ClusterIPNotAllocated", true, true},
		{"no Service's", modified, []*corev1.Service{svc("web")}, "ClusterIPNotAllocated", true, true},
		{"without labels", unlabelled, []*corev1.Service{svc("web")}, "", true, true},
		{"given twice", of("web"), []*corev1.Service{svc("web"), svc("other")}, "ClusterIPAlreadyAllocated", false, false},
		{"left over", of("web"), nil, "IPAddressNotAllocated", true, false},
		{"modified", modified, nil, "IPAddressNotAllocated", true, false},
		{"reserved by somebody", gateway, nil, "", false, false},
		{"nothing at all", nil, nil, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := judge(ip, c.have, c.owners)
			if v.reason != c.reason || v.remove != c.remove || (v.make != nil) != c.make {
				t.Errorf("%+v", v)
			}
		})
	}
	second := judge(ip, of("web"), []*corev1.Service{svc("web"), svc("other")})
	if second.about == nil || second.about.Name != "other" {
		t.Errorf("the second one is told: %+v", second)
	}
	headless := svc("none")
	headless.Spec.ClusterIP, headless.Spec.ClusterIPs = "None", []string{"None"}
	if got := addressesOf(headless); len(got) > 0 {
		t.Errorf("a headless Service has %v", got)
	}
}
