package apiserver

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/pki"
)

// known is a client of a user whom the CA has signed a certificate for.
func (c *cluster) known(who pki.Request) *kubernetes.Clientset {
	c.t.Helper()
	pair := c.issue(who)
	cfg := rest.CopyConfig(c.admin)
	cfg.CertData, cfg.KeyData, cfg.BearerToken = pair.Cert, pair.Key, ""
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

func wantRefusal(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v\nwant  %s", err, text)
	}
}

// TestGrants: nobody may anything until it is granted, and then at once.
func TestGrants(t *testing.T) {
	c := start(t)
	admin, ctx := c.client(), t.Context()
	jane := c.known(pki.Request{User: "jane", Groups: []string{"dev"}})
	list := func() error {
		_, err := jane.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err
	}
	wantRefusal(t, list(), `pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"`)
	_, err := jane.CoreV1().Nodes().Get(ctx, "n", metav1.GetOptions{})
	wantRefusal(t, err, `nodes "n" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the cluster scope`)
	if _, err := jane.Discovery().ServerVersion(); err != nil {
		t.Error(err)
	}

	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dev"},
		RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "Group", Name: "dev"}}}
	if _, err := admin.RbacV1().RoleBindings("default").Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, list(), `in the namespace "default": rbac: RBAC: role.rbac.authorization.k8s.io "reader" not found`)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}
	if _, err := admin.RbacV1().Roles("default").Create(ctx, role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := list(); err != nil {
		t.Error("granted, but not yet:", err)
	}
	if _, err := jane.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); err == nil {
		t.Error("a RoleBinding counts outside of its namespace")
	}
}

// TestNobodyHandsOnWhatHeLacks: roles and bindings cannot be used to get more rights.
func TestNobodyHandsOnWhatHeLacks(t *testing.T) {
	c := start(t)
	admin, ctx := c.client(), t.Context()
	bind := func(role, user string) {
		if _, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role + user},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role}, Subjects: []rbacv1.Subject{{Kind: "User", Name: user}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	rule := func(verbs, group, resource string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: []string{group}, Resources: []string{resource}}
	}
	make := func(name string, rules ...rbacv1.PolicyRule) {
		if _, err := admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	make("writes-roles", rule("create update get", rbacv1.GroupName, "*"), rule("get", "", "pods"))
	make("escalates", rule("escalate", rbacv1.GroupName, "clusterroles"))
	make("binds", rule("bind", rbacv1.GroupName, "clusterroles"))
	bind("writes-roles", "jane")
	jane := c.known(pki.Request{User: "jane"})
	writeRole := func(name string, sum bool, rules ...rbacv1.PolicyRule) error {
		r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
		if sum {
			r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
		}
		_, err := jane.RbacV1().ClusterRoles().Create(ctx, r, metav1.CreateOptions{})
		return err
	}
	bindTo := func(role string) error {
		_, err := jane.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-"},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role}}, metav1.CreateOptions{})
		return err
	}
	if err := writeRole("hers", false, rule("get", "", "pods")); err != nil {
		t.Error(err)
	}
	wantRefusal(t, writeRole("more", false, rule("get list delete", "", "pods"), rule("get", "apps", "deployments")),
		`clusterroles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["list" "delete"]}
{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`)
	wantRefusal(t, writeRole("sum", true), `"sum" is forbidden: must have cluster-admin privileges to use the aggregationRule`)
	if err := bindTo("hers"); err != nil {
		t.Error(err)
	}
	wantRefusal(t, bindTo("system:kube-dns"), `is attempting to grant RBAC permissions not currently held`)
	wantRefusal(t, bindTo("gone"), `rolebindings.rbac.authorization.k8s.io "gone" not found`)

	hers, err := jane.RbacV1().ClusterRoles().Get(ctx, "hers", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hers.Rules[0].Verbs = []string{"get", "list"}
	_, err = jane.RbacV1().ClusterRoles().Update(ctx, hers, metav1.UpdateOptions{})
	wantRefusal(t, err, `{APIGroups:[""], Resources:["pods"], Verbs:["list"]}`)

	bind("escalates", "jane")
	bind("binds", "jane")
	if _, err = jane.RbacV1().ClusterRoles().Update(ctx, hers, metav1.UpdateOptions{}); err != nil {
		t.Error("with escalate:", err)
	}
	if err := bindTo("system:kube-dns"); err != nil {
		t.Error("with bind:", err)
	}
}

// TestPolicyIsMended: a restart gives back what a cluster starts with, but for what has
// been taken over.
func TestPolicyIsMended(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	roles, bindings := c.client().RbacV1().ClusterRoles(), c.client().RbacV1().ClusterRoleBindings()
	dns, err := roles.Get(ctx, "system:kube-dns", metav1.GetOptions{})
	if err != nil || dns.Labels["kubernetes.io/bootstrapping"] != "rbac-defaults" || dns.Annotations[rbacv1.AutoUpdateAnnotationKey] != "true" {
		t.Fatal(dns, err)
	}
	dns.Rules[0].Resources = []string{"services"}
	if _, err := roles.Update(ctx, dns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	public, err := bindings.Get(ctx, "system:public-info-viewer", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	public.Subjects, public.Annotations[rbacv1.AutoUpdateAnnotationKey] = nil, "false"
	if _, err := bindings.Update(ctx, public, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := bindings.Delete(ctx, "system:kube-dns", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.stop()
	c.boot()
	roles, bindings = c.client().RbacV1().ClusterRoles(), c.client().RbacV1().ClusterRoleBindings()
	if dns, err = roles.Get(ctx, "system:kube-dns", metav1.GetOptions{}); err != nil || len(dns.Rules) != 3 {
		t.Errorf("%+v %v", dns.Rules, err) // services, and the two that were missing
	}
	if _, err := bindings.Get(ctx, "system:kube-dns", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if public, err = bindings.Get(ctx, "system:public-info-viewer", metav1.GetOptions{}); err != nil || len(public.Subjects) != 0 {
		t.Error(public, err)
	}
	anybody, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(c.admin))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = anybody.Discovery().ServerVersion(); !apierrors.IsForbidden(err) {
		t.Error("the version is public again:", err)
	}
	if _, err := anybody.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, "cluster-info", metav1.GetOptions{}); err != nil {
		t.Error("cluster-info is not public:", err)
	}
}
