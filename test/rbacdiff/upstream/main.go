// Command upstream answers with Kubernetes' own code what test/rbacdiff asks: `upstream
// policy` writes the roles and bindings that its API server starts with, `upstream answer`
// reads worlds and writes one list of answers for each.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/registry/rbac/validation"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// world, question and answer are as in test/rbacdiff.
type world struct {
	Roles               []*rbacv1.Role
	ClusterRoles        []*rbacv1.ClusterRole
	RoleBindings        []*rbacv1.RoleBinding
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	Questions           []question
}

type question struct {
	User, Namespace, Verb, Group, Resource, Subresource, Name, Path string
	Groups                                                          []string
	IsResource                                                      bool
	Grant                                                           []rbacv1.PolicyRule
}

type answer struct {
	Allowed bool
	Reason  string
	Reasons []string // each binding's alone
	Rules   []rbacv1.PolicyRule
	Lacks   string
}

func main() {
	run := map[string]func() (any, error){"policy": policy, "answer": answers}[os.Args[len(os.Args)-1]]
	if run == nil {
		fmt.Fprintln(os.Stderr, "usage: upstream policy | answer")
		os.Exit(2)
	}
	result, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", " ")
	if err = encoder.Encode(result); err == nil {
		_, err = out.WriteTo(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func policy() (any, error) {
	all := map[string]any{
		"ClusterRoles":        append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		"ClusterRoleBindings": append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...),
	}
	var roles []rbacv1.Role
	byNamespace := bootstrappolicy.NamespaceRoles()
	for _, namespace := range slices.Sorted(maps.Keys(byNamespace)) {
		roles = append(roles, byNamespace[namespace]...)
	}
	var bindings []rbacv1.RoleBinding
	bound := bootstrappolicy.NamespaceRoleBindings()
	for _, namespace := range slices.Sorted(maps.Keys(bound)) {
		bindings = append(bindings, bound[namespace]...)
	}
	all["Roles"], all["RoleBindings"] = roles, bindings
	return all, nil
}

func answers() (any, error) {
	var worlds []world
	if err := json.NewDecoder(os.Stdin).Decode(&worlds); err != nil {
		return nil, err
	}
	all := make([][]answer, len(worlds))
	for i, w := range worlds {
		for _, q := range w.Questions {
			all[i] = append(all[i], w.answer(q))
		}
	}
	return all, nil
}

func (w world) answer(q question) answer {
	who := &user.DefaultInfo{Name: q.User, Groups: q.Groups}
	asked := authorizer.AttributesRecord{User: who, Namespace: q.Namespace, Verb: q.Verb, APIGroup: q.Group, Resource: q.Resource,
		Subresource: q.Subresource, Name: q.Name, Path: q.Path, ResourceRequest: q.IsResource}
	authorize, resolver := w.with(w.RoleBindings, w.ClusterRoleBindings)
	decision, reason, _ := authorize.Authorize(context.Background(), asked)
	a := answer{Allowed: decision == authorizer.DecisionAllow, Reason: reason}
	alone := func(one *rbac.RBACAuthorizer) {
		if decision, reason, _ := one.Authorize(context.Background(), asked); decision == authorizer.DecisionAllow {
			a.Reasons = append(a.Reasons, reason)
		}
	}
	for _, b := range w.ClusterRoleBindings {
		one, _ := w.with(nil, []*rbacv1.ClusterRoleBinding{b})
		alone(one)
	}
	for _, b := range w.RoleBindings {
		one, _ := w.with([]*rbacv1.RoleBinding{b}, nil)
		alone(one)
	}
	if len(q.Grant) == 0 {
		return a
	}
	a.Rules, _ = resolver.RulesFor(context.Background(), who, q.Namespace)
	ctx := request.WithNamespace(request.WithUser(context.Background(), who), q.Namespace)
	if err := validation.ConfirmNoEscalation(ctx, resolver, q.Grant); err != nil {
		a.Lacks = err.Error()
	}
	return a
}

// with is upstream's authorizer on the world's roles and the given bindings.
func (w world) with(bindings []*rbacv1.RoleBinding, clusterBindings []*rbacv1.ClusterRoleBinding) (*rbac.RBACAuthorizer, validation.AuthorizationRuleResolver) {
	roles := &rbac.RoleGetter{Lister: rbaclisters.NewRoleLister(indexed(w.Roles))}
	clusterRoles := &rbac.ClusterRoleGetter{Lister: rbaclisters.NewClusterRoleLister(indexed(w.ClusterRoles))}
	bound := &rbac.RoleBindingLister{Lister: rbaclisters.NewRoleBindingLister(indexed(bindings))}
	clusterBound := &rbac.ClusterRoleBindingLister{Lister: rbaclisters.NewClusterRoleBindingLister(indexed(clusterBindings))}
	return rbac.New(roles, bound, clusterRoles, clusterBound), validation.NewDefaultRuleResolver(roles, bound, clusterRoles, clusterBound)
}

func indexed[T any](objects []T) cache.Indexer {
	ix := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, o := range objects {
		_ = ix.Add(o) // cannot fail: each has a name
	}
	return ix
}
