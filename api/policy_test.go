package api

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestPodDisruptionBudgets(t *testing.T) {
	base := func() *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{ObjectMeta: metaOf("web"), Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: new(intstr.FromString("50%")), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	}
	created(t, podDisruptionBudgets, base, []invalidCase[policyv1.PodDisruptionBudget]{
		{"nothing but the name", func(b *policyv1.PodDisruptionBudget) { b.Spec = policyv1.PodDisruptionBudgetSpec{} }, nil},
		{"too much", func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = new(intstr.FromString("101%")) }, []string{
			`spec.minAvailable: Invalid value: "101%": must not be greater than 100%`}},
		{"too little", func(b *policyv1.PodDisruptionBudget) {
			b.Spec.MinAvailable, b.Spec.MaxUnavailable = nil, new(intstr.FromInt32(-1))
		}, []string{`spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0`}},
		{"no percentage", func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = new(intstr.FromString("half")) }, []string{
			`spec.minAvailable: Invalid value: "half": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`}},
		{"selector", func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector.MatchLabels["app"] = "-" }, []string{
			`spec.selector.matchLabels: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`}},
		{"unhealthy", func(b *policyv1.PodDisruptionBudget) {
			b.Spec.UnhealthyPodEvictionPolicy = new(policyv1.UnhealthyPodEvictionPolicyType("Never"))
		}, []string{
			`spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"`}},
	})
	b := base()
	b.Spec.MaxUnavailable = new(intstr.FromInt32(1))
	if errs := podDisruptionBudgets.BeforeCreate(b); len(errs) != 1 || errs[0].Detail != "minAvailable and maxUnavailable cannot be both set" {
		t.Errorf("both bounds: %v", errs)
	}
	old, next := base(), base()
	next.Status = policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: -1, CurrentHealthy: -1, DesiredHealthy: -1, ExpectedPods: -1,
		Conditions: []metav1.Condition{{Type: policyv1.DisruptionAllowedCondition, Status: "Maybe", Reason: "x", LastTransitionTime: metav1.Now()}}}
	wantErrors(t, podDisruptionBudgets.BeforeStatusUpdate(next, old),
		`status.conditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"`,
		`status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0`,
		`status.currentHealthy: Invalid value: -1: must be greater than or equal to 0`,
		`status.desiredHealthy: Invalid value: -1: must be greater than or equal to 0`,
		`status.expectedPods: Invalid value: -1: must be greater than or equal to 0`)
}

func TestPriorityClasses(t *testing.T) {
	base := func() *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "gold", UID: "1", ResourceVersion: "1"}, Value: 1000}
	}
	const reserved = `metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: `
	named := func(name string, value int32, byDefault bool) func(*schedulingv1.PriorityClass) {
		return func(c *schedulingv1.PriorityClass) { c.Name, c.Value, c.GlobalDefault = name, value, byDefault }
	}
	created(t, priorityClasses, base, []invalidCase[schedulingv1.PriorityClass]{
		{"lowest", named("x", -2147483648, false), nil},
		{"the system's", named("system-node-critical", 2000001000, false), nil},
		{"too high", named("x", 1000000001, false), []string{`value: Forbidden: maximum allowed value of a user defined priority is 1000000000`}},
		{"reserved", named("system-x", 1, false), []string{reserved + `system-x is not a known system priority class`}},
		{"wrong value", named("system-node-critical", 1, false), []string{reserved + `value of system-node-critical PriorityClass must be 2000001000`}},
		{"default", named("system-cluster-critical", 2000000000, true), []string{reserved + `globalDefault of system-cluster-critical PriorityClass must be false`}},
		{"policy", func(c *schedulingv1.PriorityClass) { c.PreemptionPolicy = new(corev1.PreemptionPolicy("Maybe")) }, []string{
			`preemptionPolicy: Unsupported value: "Maybe": supported values: "PreemptLowerPriority", "Never"`}},
	})
	updated(t, priorityClasses, base, []invalidCase[schedulingv1.PriorityClass]{
		{"default", func(c *schedulingv1.PriorityClass) { c.GlobalDefault = true }, nil},
		{"value", func(c *schedulingv1.PriorityClass) { c.Value = 1 }, []string{`value: Forbidden: may not be changed in an update.`}},
		{"policy", func(c *schedulingv1.PriorityClass) { c.PreemptionPolicy = new(corev1.PreemptNever) }, []string{
			`preemptionPolicy: Invalid value: "Never": field is immutable`}},
	})
	for _, c := range SystemPriorityClasses() {
		wantErrors(t, priorityClasses.BeforeCreate(c))
	}
}
