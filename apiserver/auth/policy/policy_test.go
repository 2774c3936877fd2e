package policy

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
)

// kindOf finds the object's row of the table.
func kindOf(t *testing.T, o api.Object) *api.Kind {
	t.Helper()
	for _, k := range api.Table {
		if k.Storage().Group == rbacv1.GroupName && fmt.Sprintf("%T", k.Storage().New()) == fmt.Sprintf("%T", o) {
			return k
		}
	}
	t.Fatalf("%T is in no row", o)
	return nil
}

// TestObjects: the policy is valid, and its bindings lead somewhere. That it is
// upstream's is what test/rbacdiff compares.
func TestObjects(t *testing.T) {
	roles := map[string]bool{}
	for _, o := range Objects() {
		id := fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())
		if roles[id] {
			t.Errorf("%s is there twice", id)
		}
		roles[id] = true
		o.SetUID("1")
		if errs := kindOf(t, o).BeforeCreate(o); len(errs) > 0 {
			t.Errorf("%s: %v", id, errs.ToAggregate())
		}
		if ref, ok := roleRef(o); ok {
			namespace := o.GetNamespace()
			if ref.Kind == cluster {
				namespace = ""
			}
			if !roles[fmt.Sprintf("*v1.%s %s/%s", ref.Kind, namespace, ref.Name)] {
				t.Errorf("%s names a role that doesn't come before it: %v", id, ref)
			}
		}
	}
}

func TestObjectsAreTheCallers(t *testing.T) {
	for _, o := range Objects() {
		if r, ok := o.(*rbacv1.ClusterRole); ok && len(r.Rules) > 0 {
			r.Rules[0].Verbs[0] = "changed"
		}
	}
	for _, o := range Objects() {
		if r, ok := o.(*rbacv1.ClusterRole); ok && len(r.Rules) > 0 && r.Rules[0].Verbs[0] == "changed" {
			t.Fatalf("%s is shared", r.Name)
		}
	}
}

func TestRepair(t *testing.T) {
	meta := func(annotation string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: "x", Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: annotation, "note": "mine"}}
	}
	wanted := metav1.ObjectMeta{Name: "x", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"}}
	repaired := meta("true")
	repaired.Labels = wanted.Labels
	pods, secrets := rule("get", "core", "pods"), rule("get list", "core", "secrets")
	ann, bob := users("ann"), users("bob")
	ref := rbacv1.RoleRef{Kind: cluster, Name: "r"}
	selector := func(label string) metav1.LabelSelector {
		return metav1.LabelSelector{MatchLabels: map[string]string{label: "true"}}
	}
	sum := func(labels ...string) *rbacv1.AggregationRule {
		r := &rbacv1.AggregationRule{}
		for _, l := range labels {
			r.ClusterRoleSelectors = append(r.ClusterRoleSelectors, selector(l))
		}
		return r
	}
	for _, c := range []struct {
		name             string
		have, want, then api.Object
	}{
		{"rules are added, others stay", &rbacv1.Role{ObjectMeta: meta("true"), Rules: rules{pods, rule("list", "core", "secrets")}},
			&rbacv1.Role{ObjectMeta: wanted, Rules: rules{secrets}},
			&rbacv1.Role{ObjectMeta: repaired, Rules: rules{pods, rule("list", "core", "secrets"), rule("get", "core", "secrets")}}},
		{"what is taken over stays", &rbacv1.Role{ObjectMeta: meta("false")}, &rbacv1.Role{ObjectMeta: wanted, Rules: rules{secrets}}, &rbacv1.Role{ObjectMeta: meta("false")}},
		{"subjects", &rbacv1.ClusterRoleBinding{ObjectMeta: meta("true"), RoleRef: ref, Subjects: ann}, &rbacv1.ClusterRoleBinding{ObjectMeta: wanted, RoleRef: ref, Subjects: slices.Concat(bob, ann)},
			&rbacv1.ClusterRoleBinding{ObjectMeta: repaired, RoleRef: ref, Subjects: slices.Concat(ann, bob)}},
		{"selectors", &rbacv1.ClusterRole{ObjectMeta: meta("true"), Rules: rules{pods}, AggregationRule: sum("a")}, &rbacv1.ClusterRole{ObjectMeta: wanted, AggregationRule: sum("b", "a")},
			&rbacv1.ClusterRole{ObjectMeta: repaired, Rules: rules{pods}, AggregationRule: sum("a", "b")}},
		{"no sum any more", &rbacv1.ClusterRole{ObjectMeta: meta("true"), AggregationRule: sum("a")}, &rbacv1.ClusterRole{ObjectMeta: wanted}, &rbacv1.ClusterRole{ObjectMeta: repaired}},
	} {
		t.Run(c.name, func(t *testing.T) {
			Repair(c.have, c.want)
			if diff := cmp.Diff(c.then, c.have); diff != "" {
				t.Error(diff)
			}
			if Rebound(c.have, c.want) {
				t.Error("called rebound")
			}
		})
	}
	if !Rebound(&rbacv1.RoleBinding{RoleRef: ref}, &rbacv1.RoleBinding{RoleRef: rbacv1.RoleRef{Kind: local, Name: "r"}}) {
		t.Error("another role went unnoticed")
	}
}
