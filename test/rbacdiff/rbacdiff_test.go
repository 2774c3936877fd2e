// Package rbacdiff compares package rbac and the policy of a new cluster with Kubernetes'
// own: the policy object by object, and answers about random roles, bindings and requests.
//
// Upstream's code takes minutes to compile, so its answers are recorded in testdata, and
// the program that gives them (upstream/, a module of its own) is built only to record
// anew:
//
//	scripts/record-rbacdiff
package rbacdiff

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/auth/policy"
	"orrery.example.org/apiserver/auth/rbac"
)

var upstream = flag.String("upstream", "", "the program built from upstream/; its answers are recorded")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bootstrap is all roles and bindings of a policy.
type bootstrap struct {
	Roles               []*rbacv1.Role
	ClusterRoles        []*rbacv1.ClusterRole
	RoleBindings        []*rbacv1.RoleBinding
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
}

// TestPolicy: a new cluster has every role and binding of Kubernetes, and each says the same.
func TestPolicy(t *testing.T) {
	var theirs bootstrap
	data, err := os.ReadFile(policyOf(t))
	must(t, err)
	must(t, json.Unmarshal(data, &theirs))
	want, got := byName(theirs.objects()), byName(policy.Defaults())
	if len(want) < 100 {
		t.Errorf("upstream has only %d objects", len(want))
	}
	for id, w := range want {
		if diff := cmp.Diff(w, got[id]); diff != "" {
			t.Errorf("%s (-upstream +ours):\n%s", id, diff)
		}
	}
	for id := range got {
		if want[id] == nil {
			t.Errorf("upstream has no %s", id)
		}
	}
}

func (b bootstrap) objects() []api.Object {
	var all []api.Object
	for _, o := range b.Roles {
		all = append(all, o)
	}
	for _, o := range b.ClusterRoles {
		all = append(all, o)
	}
	for _, o := range b.RoleBindings {
		all = append(all, o)
	}
	for _, o := range b.ClusterRoleBindings {
		all = append(all, o)
	}
	return all
}

// byName has the objects as clients see them: nil and empty are the same in JSON.
func byName(objects []api.Object) map[string]any {
	all := map[string]any{}
	for _, o := range objects {
		data, err := json.Marshal(o)
		if err != nil {
			panic(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(data, &plain); err != nil {
			panic(err)
		}
		for field, value := range plain {
			if value == nil {
				delete(plain, field)
			}
		}
		all[fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())] = plain
	}
	return all
}

// TestAnswers asks both the same.
func TestAnswers(t *testing.T) {
	worlds := generate()
	recorded := answersOf(t, worlds)
	var allowed, refused, lacking, asked int
	for i, w := range worlds {
		index := rbac.New(w.objects())
		for j, q := range w.Questions {
			theirs, got := recorded[i][j], w.answer(t, index, q)
			asked++
			switch {
			case len(q.Grant) > 0:
				if theirs.Lacks != "" {
					lacking++
				}
			case theirs.Allowed:
				allowed++
			default:
				refused++
			}
			if diff := differ(theirs, got); diff != "" {
				t.Errorf("world %d, question %d: %+v\n%s", i, j, q, diff)
			}
		}
	}
	t.Logf("%d questions: %d allowed, %d refused, %d lacking what they grant", asked, allowed, refused, lacking)
	if min(allowed, refused) < asked/10 || lacking < 100 {
		t.Error("the questions are too much alike")
	}
}

// answer is what we say.
func (w world) answer(t *testing.T, index *rbac.Index, q question) answer {
	who := &auth.User{Name: q.User, Groups: q.Groups}
	var a answer
	var err error
	a.Allowed, a.Reason, err = index.Authorize(t.Context(), auth.Attributes{User: who, Namespace: q.Namespace, Verb: q.Verb, Group: q.Group,
		Resource: q.Resource, Subresource: q.Subresource, Name: q.Name, Path: q.Path, Unnamed: q.IsResource && q.Resource == ""})
	must(t, err)
	if len(q.Grant) == 0 {
		return a
	}
	a.Rules, _ = index.RulesFor(who, q.Namespace) // whose error is in the next
	if err := index.ConfirmNoEscalation(who, q.Namespace, q.Grant); err != nil {
		a.Lacks = err.Error()
	}
	return a
}

// differ compares what doesn't depend on the order in which bindings are looked at.
func differ(theirs, ours answer) string {
	var all []string
	note := func(what string, theirs, ours any) {
		if diff := cmp.Diff(theirs, ours); diff != "" {
			all = append(all, fmt.Sprintf("%s (-upstream +ours):\n%s", what, diff))
		}
	}
	note("allowed", theirs.Allowed, ours.Allowed)
	switch {
	case !theirs.Allowed:
		note("reason", sorted(theirs.Reason), sorted(ours.Reason))
	case !slices.Contains(theirs.Reasons, ours.Reason):
		note("reason", theirs.Reasons, []string{ours.Reason})
	}
	note("rules", texts(theirs.Rules), texts(ours.Rules))
	note("lacks", sorted(theirs.Lacks), sorted(ours.Lacks))
	return strings.Join(all, "\n")
}

// sorted has the parts of a list of errors in order: what is missing comes line by line and
// in order, which roles weren't found in any.
func sorted(message string) []string {
	head, tail, _ := strings.Cut(message, "[")
	if before, after, ok := strings.Cut(message, "; resolution errors: "); ok {
		head, tail = before, after
	}
	parts := strings.Split(strings.Trim(tail, "[]"), ", ")
	slices.Sort(parts)
	return append([]string{head}, parts...)
}

func texts(rules []rbacv1.PolicyRule) []string {
	var all []string
	for _, r := range rules {
		data, _ := json.Marshal(r) // cannot fail
		all = append(all, string(data))
	}
	slices.Sort(all)
	return all
}
