package loadbalancer

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const ours = "example.org/ours"

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1"},
		Spec: corev1.ServiceSpec{
			Type:  corev1.ServiceTypeLoadBalancer,
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}, {Port: 53, Protocol: corev1.ProtocolUDP}},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

func TestWhoseServiceItIs(t *testing.T) {
	class := func(name string) *string { return &name }
	now := metav1.Now()
	for name, row := range map[string]struct {
		change         func(*corev1.Service)
		wants, cleanup bool
	}{
		"no class":          {nil, true, false},
		"our class":         {func(s *corev1.Service) { s.Spec.LoadBalancerClass = class(ours) }, true, false},
		"another class":     {func(s *corev1.Service) { s.Spec.LoadBalancerClass = class("example.org/other") }, false, false},
		"a ClusterIP":       {func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }, false, false},
		"with an address":   {func(s *corev1.Service) { s.Finalizers = []string{Finalizer} }, true, false},
		"being deleted":     {func(s *corev1.Service) { s.Finalizers, s.DeletionTimestamp = []string{Finalizer}, &now }, true, true},
		"deleted, not ours": {func(s *corev1.Service) { s.Finalizers, s.DeletionTimestamp = []string{"example.org/x"}, &now }, true, false},
		"changed type":      {func(s *corev1.Service) { s.Finalizers, s.Spec.Type = []string{Finalizer}, corev1.ServiceTypeNodePort }, false, true},
		"another class being deleted": {func(s *corev1.Service) {
			s.Spec.LoadBalancerClass, s.Finalizers, s.DeletionTimestamp = class("example.org/other"), []string{Finalizer}, &now
		}, false, false},
	} {
		s := service(row.change)
		if wants(s, ours) != row.wants || needsCleanup(s, ours) != row.cleanup {
			t.Errorf("%s: wants %t, needs cleanup %t", name, wants(s, ours), needsCleanup(s, ours))
		}
	}
	if s := service(func(s *corev1.Service) { s.Spec.LoadBalancerClass = class("") }); wants(s, "") {
		t.Error("without a class of our own, an empty class is ours")
	}
}

func TestRelevant(t *testing.T) {
	was := relevantOf(service(nil))
	for name, row := range map[string]struct {
		change func(*corev1.Service)
		equal  bool
	}{
		"nothing":       {nil, true},
		"an annotation": {func(s *corev1.Service) { s.Annotations = map[string]string{"a": "b"} }, true},
		"a label":       {func(s *corev1.Service) { s.Labels = map[string]string{"a": "b"} }, true},
		"the selector":  {func(s *corev1.Service) { s.Spec.Selector = map[string]string{"a": "b"} }, true},
		"a port":        {func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 }, false},
		"a NodePort":    {func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 }, false},
		"the ranges":    {func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} }, false},
		"the ranges, by annotation": {func(s *corev1.Service) {
			s.Annotations = map[string]string{corev1.AnnotationLoadBalancerSourceRangesKey: "10.0.0.0/8"}
		}, false},
		"the policy":  {func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }, false},
		"the address": {func(s *corev1.Service) { s.Spec.LoadBalancerIP = "10.0.0.1" }, false},
		"the object":  {func(s *corev1.Service) { s.UID = "2" }, false},
	} {
		if got := was.equal(relevantOf(service(row.change))); got != row.equal {
			t.Errorf("%s changed: equal is %t", name, got)
		}
	}
}

func TestStatus(t *testing.T) {
	vip := corev1.LoadBalancerIPModeVIP
	ports := []corev1.PortStatus{{Port: 80, Protocol: corev1.ProtocolTCP}, {Port: 53, Protocol: corev1.ProtocolUDP}}
	want := corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "10.0.0.1", IPMode: &vip, Ports: ports}, {IP: "fd00::1", IPMode: &vip, Ports: ports}}}
	s := service(nil)
	s.Status.LoadBalancer = statusOf(s, []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")})
	if diff := cmp.Diff(want, s.Status.LoadBalancer); diff != "" {
		t.Error(diff)
	}
	with := withFinalizer(withFinalizer(s))
	if diff := cmp.Diff([]string{Finalizer}, with.Finalizers); diff != "" {
		t.Error(diff)
	}
	without := cleanedUp(with)
	if len(without.Finalizers) > 0 || len(without.Status.LoadBalancer.Ingress) > 0 {
		t.Errorf("cleaned up: %v", without)
	}
	if len(s.Finalizers) > 0 {
		t.Error("the copy in the cache was changed")
	}
}

func TestWhichNodesTakePart(t *testing.T) {
	now := metav1.Now()
	for name, row := range map[string]struct {
		node corev1.Node
		want bool
	}{
		"any":               {corev1.Node{}, true},
		"not ready":         {corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse}}}}, true},
		"excluded":          {corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelNodeExcludeBalancers: "true"}}}, false},
		"excluded, no text": {corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelNodeExcludeBalancers: ""}}}, false},
		"included":          {corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelNodeExcludeBalancers: "false"}}}, true},
		"about to go":       {corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: toBeDeleted}}}}, false},
		"being deleted":     {corev1.Node{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, false},
	} {
		if got := takesPart(&row.node); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
