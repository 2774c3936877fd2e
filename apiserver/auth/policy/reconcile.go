package policy

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"orrery.example.org/api"
)

// Repair gives an object that exists what the policy says and it lacks: rules, subjects,
// labels. What it has beyond that stays, and so does an object as a whole whose owner
// has set the annotation to "false".
//
// Upstream counterpart: component-helpers/auth/rbac/reconciliation.
func Repair(have, want api.Object) {
	if have.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
		return
	}
	have.SetLabels(merged(have.GetLabels(), want.GetLabels()))
	have.SetAnnotations(merged(have.GetAnnotations(), want.GetAnnotations()))
	switch have := have.(type) {
	case *rbacv1.ClusterRole:
		want := want.(*rbacv1.ClusterRole)
		have.Rules = withMissingRules(have.Rules, want.Rules)
		have.AggregationRule = withMissingSelectors(have.AggregationRule, want.AggregationRule)
	case *rbacv1.Role:
		have.Rules = withMissingRules(have.Rules, want.(*rbacv1.Role).Rules)
	case *rbacv1.ClusterRoleBinding:
		have.Subjects = withMissingSubjects(have.Subjects, want.(*rbacv1.ClusterRoleBinding).Subjects)
	case *rbacv1.RoleBinding:
		have.Subjects = withMissingSubjects(have.Subjects, want.(*rbacv1.RoleBinding).Subjects)
	}
}

// Rebound says whether a binding names another role than it should. That cannot be
// repaired: a binding's role is for life.
func Rebound(have, want api.Object) bool {
	a, ok := roleRef(have)
	b, _ := roleRef(want)
	return ok && a != b && have.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] != "false"
}

func roleRef(o api.Object) (rbacv1.RoleRef, bool) {
	switch o := o.(type) {
	case *rbacv1.ClusterRoleBinding:
		return o.RoleRef, true
	case *rbacv1.RoleBinding:
		return o.RoleRef, true
	}
	return rbacv1.RoleRef{}, false
}

// merged is want with have in front: what somebody has set stays.
func merged(have, want map[string]string) map[string]string {
	if len(want) == 0 {
		return have
	}
	all := map[string]string{}
	for _, m := range []map[string]string{want, have} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func withMissingRules(have, want rules) rules {
	_, missing := validation.Covers(have, want)
	return append(have, missing...)
}

func withMissingSelectors(have, want *rbacv1.AggregationRule) *rbacv1.AggregationRule {
	if want == nil || have == nil {
		return want
	}
	for _, s := range want.ClusterRoleSelectors {
		if !slices.ContainsFunc(have.ClusterRoleSelectors, func(o metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(s, o) }) {
			have.ClusterRoleSelectors = append(have.ClusterRoleSelectors, s)
		}
	}
	return have
}

func withMissingSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	for _, s := range want {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have
}
