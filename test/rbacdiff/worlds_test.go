package rbacdiff

import (
	"math/rand/v2"
	"slices"
	"strconv"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// world is some roles and bindings, and questions about them.
type world struct {
	bootstrap
	Questions []question
}

// question is who wants to do what. With rules to grant it is whether he holds them.
type question struct {
	User, Namespace, Verb, Group, Resource, Subresource, Name, Path string
	Groups                                                          []string
	IsResource                                                      bool
	Grant                                                           []rbacv1.PolicyRule
}

// answer is what one side says. Reasons are those of each binding that alone would do.
type answer struct {
	Allowed bool                `json:",omitempty"`
	Reason  string              `json:",omitempty"`
	Reasons []string            `json:",omitempty"`
	Rules   []rbacv1.PolicyRule `json:",omitempty"`
	Lacks   string              `json:",omitempty"`
}

// Few words, so that they meet, and some that look like others.
var (
	people     = []string{"ann", "bob", "system:serviceaccount:n1:robot", "system:serviceaccount:n2:robot"}
	teams      = []string{"devs", "ops", "system:authenticated"}
	namespaces = []string{"n1", "n2"}
	verbs      = []string{"get", "list", "delete"}
	groups     = []string{"", "apps", "example.org"}
	resources  = []string{"pods", "deployments", "", "log"}
	subs       = []string{"", "", "log", "scale", "og"}
	names      = []string{"", "a", "b"}
	paths      = []string{"/healthz", "/api", "/api/v1", "/ap", "/", ""}

	ruleVerbs     = append([]string{"*", "ge*"}, verbs...)
	ruleGroups    = append([]string{"*"}, groups...)
	ruleResources = []string{"pods", "deployments", "*", "pods/log", "pods/*", "*/log", "*/scale", "deployments/scale", "log", "/log", "*/og", "", "services"}
	rulePaths     = []string{"/healthz", "/api", "/api/*", "/ap*", "/ap**", "*", "/*", "", "/api/v1/"}
)

type dice struct{ *rand.Rand }

// chance is true once in n times.
func (d dice) chance(n int) bool { return d.IntN(n) == 0 }

func (d dice) one(of []string) string { return of[d.IntN(len(of))] }

// some are up to n of the words, each once, in any order; seldom none.
func (d dice) some(of []string, n int) []string {
	if d.chance(12) {
		return nil
	}
	picked := slices.Clone(of)
	d.Shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
	return picked[:1+d.IntN(n)]
}

// generate makes the same worlds every time.
func generate() []world {
	var all []world
	for seed := range uint64(80) {
		d := dice{rand.New(rand.NewPCG(seed, 1))}
		w := world{bootstrap: d.policy()}
		for range 70 {
			w.Questions = append(w.Questions, d.question())
		}
		for range 8 {
			q := d.question()
			q.Grant = d.rules(3)
			if len(q.Grant) > 0 {
				w.Questions = append(w.Questions, q)
			}
		}
		all = append(all, w)
	}
	return all
}

func (d dice) policy() bootstrap {
	var b bootstrap
	for i := range 4 {
		b.ClusterRoles = append(b.ClusterRoles, &rbacv1.ClusterRole{ObjectMeta: named("", "c", i), Rules: d.rules(5)})
	}
	for i := range 1 + d.IntN(3) {
		b.ClusterRoleBindings = append(b.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{ObjectMeta: named("", "b", i), RoleRef: d.ref(), Subjects: d.subjects()})
	}
	for _, namespace := range namespaces {
		for i := range 3 {
			b.Roles = append(b.Roles, &rbacv1.Role{ObjectMeta: named(namespace, "r", i), Rules: d.rules(5)})
		}
		for i := range 1 + d.IntN(4) {
			b.RoleBindings = append(b.RoleBindings, &rbacv1.RoleBinding{ObjectMeta: named(namespace, "b", i), RoleRef: d.ref(), Subjects: d.subjects()})
		}
	}
	return b
}

func named(namespace, letter string, i int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: letter + strconv.Itoa(i)}
}

func (d dice) rules(n int) []rbacv1.PolicyRule {
	var all []rbacv1.PolicyRule
	for range d.IntN(n + 1) {
		r := rbacv1.PolicyRule{Verbs: d.some(ruleVerbs, 3)}
		if d.chance(4) {
			r.NonResourceURLs = d.some(rulePaths, 3)
		} else {
			r.APIGroups, r.Resources = d.some(ruleGroups, 3), d.some(ruleResources, 4)
			if d.chance(4) {
				r.ResourceNames = d.some(names, 2)
			}
		}
		all = append(all, r)
	}
	return all
}

// ref names a role, now and then one that doesn't exist or cannot.
func (d dice) ref() rbacv1.RoleRef {
	switch {
	case d.chance(20):
		return rbacv1.RoleRef{Kind: "Thing", Name: "c1"}
	case d.chance(2):
		return rbacv1.RoleRef{Kind: "Role", Name: named("", "r", d.IntN(4)).Name}
	}
	return rbacv1.RoleRef{Kind: "ClusterRole", Name: named("", "c", d.IntN(5)).Name}
}

func (d dice) subjects() []rbacv1.Subject {
	var all []rbacv1.Subject
	for range 1 + d.IntN(4) {
		switch d.IntN(7) {
		case 0, 1:
			all = append(all, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: d.one(people)})
		case 2, 3, 4:
			all = append(all, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: d.one(teams)})
		case 5:
			all = append(all, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: d.one([]string{"", "n1", "n2"}), Name: "robot"})
		default:
			all = append(all, rbacv1.Subject{Kind: "Dog", Name: "ann"})
		}
	}
	return all
}

func (d dice) question() question {
	q := question{User: d.one(people), Groups: d.some(teams, 3), Verb: d.one(verbs), IsResource: !d.chance(5)}
	if q.IsResource {
		q.Namespace = d.one([]string{"", "n1", "n2", "n3"})
		q.Group, q.Resource, q.Subresource, q.Name = d.one(groups), d.one(resources), d.one(subs), d.one(names)
	} else {
		q.Path = d.one(paths)
	}
	return q
}
