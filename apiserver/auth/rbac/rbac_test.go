package rbac

import (
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/auth/policy"
)

// rule reads "verbs;groups;resources;names", or "verbs;/paths".
func rule(s string) rbacv1.PolicyRule {
	parts := strings.Split(s, ";")
	if strings.HasPrefix(parts[1], "/") || len(parts) == 2 {
		return rbacv1.PolicyRule{Verbs: strings.Fields(parts[0]), NonResourceURLs: strings.Fields(parts[1])}
	}
	r := rbacv1.PolicyRule{Verbs: strings.Fields(parts[0]), Resources: strings.Fields(parts[2])}
	for _, g := range strings.Fields(parts[1]) {
		r.APIGroups = append(r.APIGroups, strings.ReplaceAll(g, "core", ""))
	}
	if len(parts) > 3 {
		r.ResourceNames = strings.Fields(parts[3])
	}
	return r
}

func rules(all ...string) []rbacv1.PolicyRule {
	var rs []rbacv1.PolicyRule
	for _, s := range all {
		rs = append(rs, rule(s))
	}
	return rs
}

func clusterRole(name string, of ...string) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules(of...)}
}

func localRole(namespace, name string, of ...string) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules(of...)}
}

// subject reads "User jane" or "ServiceAccount namespace/name".
func subject(s string) rbacv1.Subject {
	kind, name, _ := strings.Cut(s, " ")
	who := rbacv1.Subject{Kind: kind, Name: name}
	if namespace, account, ok := strings.Cut(name, "/"); ok && kind == rbacv1.ServiceAccountKind {
		who.Namespace, who.Name = namespace, account
	}
	return who
}

func bind(namespace, name, ref string, who ...string) api.Object {
	kind, of, _ := strings.Cut(ref, " ")
	meta, roleRef := metav1.ObjectMeta{Namespace: namespace, Name: name}, rbacv1.RoleRef{Kind: kind, Name: of}
	var subjects []rbacv1.Subject
	for _, s := range who {
		subjects = append(subjects, subject(s))
	}
	if namespace == "" {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: roleRef, Subjects: subjects}
	}
	return &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: roleRef, Subjects: subjects}
}

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		rule string
		a    auth.Attributes
		want bool
	}{
		{"get;core;pods", auth.Attributes{Verb: "get", Resource: "pods"}, true},
		{"get;core;pods", auth.Attributes{Verb: "list", Resource: "pods"}, false},
		{"get;core;pods", auth.Attributes{Verb: "get", Group: "apps", Resource: "pods"}, false},
		{"get;core;pods", auth.Attributes{Verb: "get", Resource: "pods", Subresource: "log"}, false},
		{"get;core;pods/log", auth.Attributes{Verb: "get", Resource: "pods", Subresource: "log"}, true},
		{"get;core;pods/log", auth.Attributes{Verb: "get", Resource: "pods"}, false},
		{"get;core;pods/log", auth.Attributes{Verb: "get", Resource: "ods", Subresource: "log"}, false},
		{"get;core;pods/log", auth.Attributes{Verb: "get", Resource: "pods", Subresource: "og"}, false},
		{"get;core;*", auth.Attributes{Verb: "get", Resource: "pods", Subresource: "log"}, true},
		{"get;*;*/scale", auth.Attributes{Verb: "get", Group: "apps", Resource: "deployments", Subresource: "scale"}, true},
		{"get;*;*/scale", auth.Attributes{Verb: "get", Group: "apps", Resource: "deployments"}, false},
		{"get;*;*/scale", auth.Attributes{Verb: "get", Group: "apps", Resource: "deployments", Subresource: "rescale"}, false},
		{"get;*;pods/*", auth.Attributes{Verb: "get", Resource: "pods", Subresource: "log"}, false},
		{"*;*;*", auth.Attributes{Verb: "get", Path: "/metrics"}, false},
		{"*;*;*", auth.Attributes{Verb: "get", Unnamed: true}, true},
		{"*;*;*/log", auth.Attributes{Verb: "get", Subresource: "log", Unnamed: true}, true},
		{"*;*;pods", auth.Attributes{Verb: "get", Unnamed: true}, false},
		{"*;/ *", auth.Attributes{Verb: "get", Unnamed: true}, false},
		{"*;core;pods;a b", auth.Attributes{Verb: "get", Resource: "pods", Name: "b"}, true},
		{"*;core;pods;a b", auth.Attributes{Verb: "list", Resource: "pods"}, false},
		{"ge*;core;pods", auth.Attributes{Verb: "get", Resource: "pods"}, false},
		{"get;/metrics", auth.Attributes{Verb: "get", Path: "/metrics"}, true},
		{"get;/metrics", auth.Attributes{Verb: "get", Path: "/metrics/slis"}, false},
		{"get;/metrics", auth.Attributes{Verb: "head", Path: "/metrics"}, false},
		{"get;/logs/*", auth.Attributes{Verb: "get", Path: "/logs/a/b"}, true},
		{"get;/logs/*", auth.Attributes{Verb: "get", Path: "/logs"}, false},
		{"get;/a*b*", auth.Attributes{Verb: "get", Path: "/axb"}, false},
		{"get;*", auth.Attributes{Verb: "get", Path: "/x"}, true},
		{"get;/x", auth.Attributes{Verb: "get", Resource: "pods", Path: "/x"}, false},
	} {
		r := rule(c.rule)
		if got := Allows(&r, &c.a); got != c.want {
			t.Errorf("%s, %+v: %v", c.rule, c.a, got)
		}
	}
}

func TestAuthorize(t *testing.T) {
	ix := New([]api.Object{
		clusterRole("reader", "get list;core;pods"),
		clusterRole("health", "get;/healthz"),
		localRole("dev", "reader", "get;core;secrets"),
		bind("", "everybody", "ClusterRole health", "Group system:unauthenticated", "User ann"),
		bind("", "lost", "ClusterRole gone", "User eve"),
		bind("", "nonsense", "Role reader", "User mallory"),
		bind("dev", "pods", "ClusterRole reader", "Group nobody", "Group g", "User ann"),
		bind("dev", "secrets", "Role reader", "ServiceAccount bot", "ServiceAccount ops/bot"),
		bind("dev", "lost", "Role gone", "User eve"),
		bind("dev", "odd", "Robot reader", "User mallory"),
	})
	for _, c := range []struct {
		who, what string // user[,group], verb resource namespace or verb /path
		reason    string // a denial's begins with "no"
	}{
		{"ann", "get /healthz", `RBAC: allowed by ClusterRoleBinding "everybody" of ClusterRole "health" to User "ann"`},
		{"x,system:unauthenticated", "get /healthz", `RBAC: allowed by ClusterRoleBinding "everybody" of ClusterRole "health" to Group "system:unauthenticated"`},
		{"ann", "get pods dev", `RBAC: allowed by RoleBinding "pods/dev" of ClusterRole "reader" to User "ann"`},
		{"ann,g", "get pods dev", `RBAC: allowed by RoleBinding "pods/dev" of ClusterRole "reader" to Group "g"`},
		{"ann", "get pods prod", "no"},
		{"ann", "get pods", "no"},
		{"ann", "get secrets dev", "no"},
		{"system:serviceaccount:dev:bot", "get secrets dev", `RBAC: allowed by RoleBinding "secrets/dev" of Role "reader" to ServiceAccount "bot/dev"`},
		{"system:serviceaccount:ops:bot", "get secrets dev", `RBAC: allowed by RoleBinding "secrets/dev" of Role "reader" to ServiceAccount "bot/ops"`},
		{"system:serviceaccount:x:bot", "get secrets dev", "no"},
		{"eve", "get pods", `noRBAC: clusterrole.rbac.authorization.k8s.io "gone" not found`},
		{"eve", "get pods dev", `noRBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, role.rbac.authorization.k8s.io "gone" not found]`},
		{"mallory", "get pods dev", `noRBAC: [role.rbac.authorization.k8s.io "reader" not found, unsupported role reference kind: "Robot"]`},
	} {
		name, group, _ := strings.Cut(c.who, ",")
		fields := strings.Fields(c.what + " ")
		a := auth.Attributes{User: &auth.User{Name: name, Groups: []string{group}}, Verb: fields[0]}
		if strings.HasPrefix(fields[1], "/") {
			a.Path = fields[1]
		} else if a.Resource = fields[1]; len(fields) > 2 {
			a.Namespace = fields[2]
		}
		allowed, reason, err := ix.Authorize(t.Context(), a)
		if want, denied := strings.CutPrefix(c.reason, "no"); allowed == denied || reason != want || err != nil {
			t.Errorf("%s %s: %v %q %v", c.who, c.what, allowed, reason, err)
		}
	}
}

// TestFollow: after any series of changes the index is the one made of what is left.
func TestFollow(t *testing.T) {
	ix := New([]api.Object{clusterRole("a", "get;core;pods"), bind("", "a", "ClusterRole a", "User u")})
	may := func(user, resource, namespace string) bool {
		allowed, _, _ := ix.Authorize(t.Context(), auth.Attributes{User: &auth.User{Name: user}, Verb: "get", Resource: resource, Namespace: namespace})
		return allowed
	}
	expect := func(step string, want map[string]bool) {
		t.Helper()
		for question, yes := range want {
			q := strings.Split(question, " ")
			if may(q[0], q[1], q[2]) != yes {
				t.Errorf("%s: %s should be %v", step, question, yes)
			}
		}
	}
	expect("defaults", map[string]bool{"u pods ": true})
	clusterRoles, clusterBindings := ix.Follow(&rbacv1.ClusterRole{}), ix.Follow(&rbacv1.ClusterRoleBinding{})
	roles, roleBindings := ix.Follow(&rbacv1.Role{}), ix.Follow(&rbacv1.RoleBinding{})

	stored := clusterRole("a", "get;core;secrets")
	clusterRoles.Replace([]api.Object{stored})
	clusterBindings.Replace(nil)
	expect("what is stored replaces a default, what is not doesn't", map[string]bool{"u pods ": false, "u secrets ": true})

	ix.Settle()
	clusterBindings.Replace(nil)
	expect("settled", map[string]bool{"u secrets ": false})

	first := bind("n", "b", "Role r", "User u", "Group g", "User u")
	roleBindings.Change(nil, first)
	expect("no role yet", map[string]bool{"u pods n": false})
	r := localRole("n", "r", "get;core;pods")
	roles.Change(nil, r)
	expect("the role comes", map[string]bool{"u pods n": true, "u pods m": false})
	again := localRole("n", "r", "get;core;services")
	roles.Change(r, again)
	expect("the role changes", map[string]bool{"u pods n": false, "u services n": true})
	second := bind("n", "b", "Role r", "User v")
	roleBindings.Change(first, second)
	expect("the binding changes", map[string]bool{"u services n": false, "v services n": true})
	roles.Change(again, nil)
	expect("the role goes", map[string]bool{"v services n": false})
	nobody := bind("n", "z", "Role r")
	roleBindings.Change(nil, nobody)
	roleBindings.Change(second, nil)
	roleBindings.Change(nobody, nil)
	clusterRoles.Replace(nil)
	if len(ix.roles)+len(ix.bindings)+len(ix.scopes) != 0 {
		t.Errorf("something is left of nothing: %v %v %v", ix.roles, ix.bindings, ix.scopes)
	}
}

func TestEscalation(t *testing.T) {
	ix := New([]api.Object{
		clusterRole("reader", "get list;core;pods"), bind("", "reader", "ClusterRole reader", "User ann"),
		bind("dev", "lost", "Role gone", "User ann"),
	})
	ann := &auth.User{Name: "ann", Groups: []string{"g", "system:authenticated"}}
	if err := ix.ConfirmNoEscalation(ann, "", rules("get list;core;pods;x")); err != nil {
		t.Error(err)
	}
	err := ix.ConfirmNoEscalation(ann, "dev", rules("get watch delete;core apps;pods services;a", "get;/x"))
	got := fmt.Sprint(err)
	for _, line := range []string{
		`user "ann" (groups=["g" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:`,
		`{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["watch" "delete"]}`,
		`{APIGroups:[""], Resources:["services"], ResourceNames:["a"], Verbs:["get" "watch" "delete"]}`,
		`{APIGroups:["apps"], Resources:["pods"], ResourceNames:["a"], Verbs:["get" "watch" "delete"]}`,
		`{NonResourceURLs:["/x"], Verbs:["get"]}; resolution errors: [role.rbac.authorization.k8s.io "gone" not found]`,
	} {
		if !strings.Contains(got+"\n", line+"\n") {
			t.Errorf("no line %s in\n%s", line, got)
		}
	}
	if _, err := ix.RulesOf(rbacv1.RoleRef{Kind: "ClusterRole", Name: "gone"}, ""); err == nil || err.Error() != `clusterrole.rbac.authorization.k8s.io "gone" not found` {
		t.Error(err)
	}
}

// BenchmarkAuthorize asks what a busy cluster asks: a node proxy, a controller, somebody
// among a thousand teams, and somebody who may not.
func BenchmarkAuthorize(b *testing.B) {
	objects := policy.Objects()
	for i := range 1000 {
		ns := fmt.Sprintf("team%d", i)
		objects = append(objects, bind(ns, "edit", "ClusterRole system:aggregate-to-edit", "Group "+ns, "User lead"))
	}
	ix := New(objects)
	for name, a := range map[string]auth.Attributes{
		"proxy":      {User: &auth.User{Name: "system:kube-proxy", Groups: []string{"system:authenticated"}}, Verb: "watch", Group: "discovery.k8s.io", Resource: "endpointslices"},
		"controller": {User: &auth.User{Name: "system:serviceaccount:kube-system:replicaset-controller", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}}, Verb: "create", Resource: "pods", Namespace: "team7"},
		"team":       {User: &auth.User{Name: "jane", Groups: []string{"team500", "system:authenticated"}}, Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "team500", Name: "web"},
		"denied":     {User: &auth.User{Name: "jane", Groups: []string{"team500", "system:authenticated"}}, Verb: "get", Resource: "pods", Namespace: "team501", Name: "web"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if allowed, _, _ := ix.Authorize(b.Context(), a); allowed != (name != "denied") {
					b.Fatal(allowed)
				}
			}
		})
	}
}
