package api

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func aRule() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}
}

func TestRoles(t *testing.T) {
	base := func() *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "system:a b", UID: "1", ResourceVersion: "1"},
			Rules: []rbacv1.PolicyRule{aRule()}}
	}
	created(t, roles, base, []invalidCase[rbacv1.Role]{
		{"name", func(r *rbacv1.Role) { r.Name = "a/b" }, []string{`metadata.name: Invalid value: "a/b": may not contain '/'`}},
		{"nothing said", func(r *rbacv1.Role) { r.Rules = append(r.Rules, rbacv1.PolicyRule{}) }, []string{
			`rules[1].verbs: Required value`,
			`rules[1].apiGroups: Required value: resource rules must supply at least one api group`,
			`rules[1].resources: Required value: resource rules must supply at least one resource`}},
		{"paths", func(r *rbacv1.Role) { r.Rules[0].NonResourceURLs = []string{"/x"} }, []string{
			`rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs`,
			`rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs`}},
	})
}

func TestClusterRoles(t *testing.T) {
	base := func() *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "system:x", UID: "1", ResourceVersion: "1"},
			Rules: []rbacv1.PolicyRule{aRule(), {Verbs: []string{"get"}, NonResourceURLs: []string{"/x/*"}}}}
	}
	wrongLabel := func(r *rbacv1.ClusterRole) {
		r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b c"}}}}
	}
	created(t, clusterRoles, base, []invalidCase[rbacv1.ClusterRole]{
		{"a sum of nothing", func(r *rbacv1.ClusterRole) { r.AggregationRule = &rbacv1.AggregationRule{} }, []string{
			`aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil`}},
		{"both", func(r *rbacv1.ClusterRole) { r.Rules[1].Resources = []string{"pods"} }, []string{
			`rules[1].nonResourceURLs: Invalid value: ["/x/*"]: rules cannot apply to both regular resources and non-resource URLs`}},
	})
	old, next := base(), base()
	wrongLabel(old)
	wrongLabel(next)
	if len(clusterRoles.BeforeCreate(base())) > 0 || len(clusterRoles.Validate(next)) == 0 {
		t.Error("a wrong label was let in")
	}
	if errs := clusterRoles.ValidateUpdate(next, base()); len(errs) == 0 {
		t.Error("a wrong label was let in by an update")
	}
}

func TestBindings(t *testing.T) {
	base := func() *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "1", ResourceVersion: "1"},
			RoleRef:  rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"},
			Subjects: []rbacv1.Subject{{Kind: "User", Name: "jane"}, {Kind: "Group", Name: "g"}, {Kind: "ServiceAccount", Namespace: "n", Name: "sa"}}}
	}
	b := base()
	if clusterRoleBindings.SetDefaults(b); b.RoleRef.APIGroup != rbacv1.GroupName || b.Subjects[0].APIGroup != rbacv1.GroupName ||
		b.Subjects[1].APIGroup != rbacv1.GroupName || b.Subjects[2].APIGroup != "" {
		t.Errorf("defaults: %+v", b)
	}
	created(t, clusterRoleBindings, base, []invalidCase[rbacv1.ClusterRoleBinding]{
		{"role", func(b *rbacv1.ClusterRoleBinding) { b.RoleRef = rbacv1.RoleRef{APIGroup: "x", Kind: "Role"} }, []string{
			`roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"`,
			`roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"`,
			`roleRef.name: Required value`}},
		{"subjects", func(b *rbacv1.ClusterRoleBinding) {
			b.Subjects = []rbacv1.Subject{{Kind: "user", Name: "a"}, {Kind: "User", APIGroup: "x"}, {Kind: "ServiceAccount", APIGroup: "x", Name: "A"}}
		}, []string{
			`subjects[0].kind: Unsupported value: "user": supported values: "ServiceAccount", "User", "Group"`,
			`subjects[1].name: Required value`,
			`subjects[1].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"`,
			`subjects[2].name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
			`subjects[2].apiGroup: Unsupported value: "x": supported values: ""`,
			`subjects[2].namespace: Required value`}},
	})
	updated(t, clusterRoleBindings, base, []invalidCase[rbacv1.ClusterRoleBinding]{
		{"subjects", func(b *rbacv1.ClusterRoleBinding) { b.Subjects = nil }, nil},
		{"role", func(b *rbacv1.ClusterRoleBinding) { b.RoleRef.Name = "edit" }, []string{
			`roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"edit"}: field is immutable`}},
	})
}
