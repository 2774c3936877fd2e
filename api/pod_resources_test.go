package api

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cpu is a ResourceList of that much cpu.
func cpu(q string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
}

func TestPodResourceDefaults(t *testing.T) {
	type needs = corev1.ResourceRequirements
	for _, c := range []struct {
		name              string
		pod, first, other needs
		want              needs
	}{
		{"nothing said", needs{}, needs{Requests: cpu("1")}, needs{}, needs{}},
		{"the sum of the requests", needs{Limits: cpu("4")}, needs{Requests: cpu("1")}, needs{Requests: cpu("2")},
			needs{Limits: cpu("4"), Requests: cpu("3")}},
		{"the limit", needs{Limits: cpu("4")}, needs{}, needs{}, needs{Limits: cpu("4"), Requests: cpu("4")}},
		{"all are limited", needs{Requests: cpu("1")}, needs{Limits: cpu("1")}, needs{Limits: cpu("2")},
			needs{Requests: cpu("1"), Limits: cpu("3")}},
		{"one is not", needs{Requests: cpu("1")}, needs{Limits: cpu("1")}, needs{}, needs{Requests: cpu("1")}},
		{"more than the limits", needs{Requests: cpu("5")}, needs{Limits: cpu("1")}, needs{Limits: cpu("2")},
			needs{Requests: cpu("5"), Limits: cpu("5")}},
	} {
		p := aPod()
		p.Spec.Resources = &c.pod
		p.Spec.Containers[0].Resources = c.first
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "busybox", Resources: c.other})
		pods.PrepareForCreate(p)
		if !equality.Semantic.DeepEqual(*p.Spec.Resources, c.want) {
			t.Errorf("%s: %v, want %v", c.name, *p.Spec.Resources, c.want)
		}
	}
}

// TestLabelKeys: what a key stands for is written down; a key that the Pod lacks says
// nothing.
func TestLabelKeys(t *testing.T) {
	p := aPod()
	p.Labels = map[string]string{"app": "web"}
	p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: corev1.PodAffinityTerm{
			TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{}, MismatchLabelKeys: []string{"app", "tier"},
		}}},
	}}
	wantErrors(t, pods.BeforeCreate(p))
	term := p.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm
	want := []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"web"}}}
	if got := term.LabelSelector.MatchExpressions; !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("expressions %v, want %v", got, want)
	}
}

func TestUntagged(t *testing.T) {
	for want, v := range map[string]any{
		`{"Add":["NET_ADMIN","X"],"Drop":null}`:                                          corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN", "X"}},
		`{"Add":[],"Drop":null}`:                                                         &corev1.Capabilities{Add: []corev1.Capability{}},
		`{"Name":"a","ResourceClaimName":"b","ResourceClaimTemplateName":null}`:          corev1.PodResourceClaim{Name: "a", ResourceClaimName: ptr("b")},
		`[{"IP":"10.0.0.1"}]`:                                                            []corev1.PodIP{{IP: "10.0.0.1"}},
		`{"Limits":{"cpu":"1"},"Requests":null,"Claims":[{"Name":"a","Request":"gpu"}]}`: corev1.ResourceRequirements{Limits: cpu("1"), Claims: []corev1.ResourceClaim{{Name: "a", Request: "gpu"}}},
	} {
		if got := string(untagged(v)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
