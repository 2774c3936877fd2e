package clusterroleaggregation

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// part is a role with a label for each of the given words, and a rule for each resource.
func part(name, words, resources string) *rbacv1.ClusterRole {
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, w := range strings.Fields(words) {
		r.Labels[w] = "true"
	}
	for _, resource := range strings.Fields(resources) {
		r.Rules = append(r.Rules, rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{resource}})
	}
	return r
}

func TestSum(t *testing.T) {
	selector := func(word string) metav1.LabelSelector {
		return metav1.LabelSelector{MatchLabels: map[string]string{word: "true"}}
	}
	all := []*rbacv1.ClusterRole{
		part("c", "view", "services pods"), part("a", "view edit", "pods nodes"), part("b", "edit", "secrets"),
		part("sum", "view", "leases"), part("other", "", "events"),
	}
	for _, c := range []struct {
		name      string
		selectors []metav1.LabelSelector
		want      string
	}{
		{"roles by name, a rule once, itself never", []metav1.LabelSelector{selector("view")}, "pods nodes services"},
		{"selectors in their order", []metav1.LabelSelector{selector("edit"), selector("view")}, "pods nodes secrets services"},
		{"none", nil, ""},
		{"nothing matches", []metav1.LabelSelector{selector("admin")}, ""},
		{"an empty selector is all", []metav1.LabelSelector{{}}, "pods nodes secrets services events"},
	} {
		t.Run(c.name, func(t *testing.T) {
			role := all[3].DeepCopy()
			role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: c.selectors}
			rules, err := sum(role, all)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range rules {
				got = append(got, r.Resources...)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%v, want %s", got, c.want)
			}
		})
	}
	if all[0].Name != "c" {
		t.Error("the lister's slice was sorted")
	}
	bad := &rbacv1.ClusterRole{AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
		{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}}}}
	if _, err := sum(bad, all); err == nil {
		t.Error("an operator that doesn't exist was taken")
	}
}
