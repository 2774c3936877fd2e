package apiserver

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/auth/node"
	"orrery.example.org/apiserver/auth/policy"
	"orrery.example.org/apiserver/auth/rbac"
	"orrery.example.org/apiserver/store"
)

// authority is the modes of authorization, asked when they know enough.
type authority struct {
	modes auth.Authorizer
	store *store.Store
}

// authorizer puts the modes together and lets them follow the store. The index of roles
// is there in every mode: nobody may hand on what he hasn't got (escalate.go).
func (s *Server) authorizer(objects *store.Store) (auth.Authorizer, *rbac.Index, error) {
	rules, agents := rbac.New(policy.Objects()), node.New()
	for _, kind := range s.cfg.Kinds {
		switch o := kind.Storage().New().(type) {
		case *rbacv1.ClusterRole, *rbacv1.Role, *rbacv1.ClusterRoleBinding, *rbacv1.RoleBinding:
			objects.Collection(kind).Observe(rules.Follow(o))
		case *corev1.Pod:
			objects.Collection(kind).Observe(agents)
		}
	}
	if s.cfg.Authorizer != nil {
		return &authority{s.cfg.Authorizer, objects}, rules, nil
	}
	known := map[string]auth.Authorizer{"AlwaysAllow": auth.Authenticated{}, "AlwaysDeny": auth.Nobody{}, "Node": agents, "RBAC": rules}
	modes := auth.Union{{Name: "masters", Authorizer: auth.Masters{}}}
	for _, name := range s.cfg.AuthorizationMode {
		mode := known[name]
		if mode == nil {
			return nil, nil, fmt.Errorf("authorization-mode %q: there are AlwaysAllow, AlwaysDeny, Node and RBAC", name)
		}
		modes = append(modes, auth.Named{Name: strings.ToLower(name), Authorizer: mode})
	}
	return &authority{modes, objects}, rules, nil
}

// Authorize implements auth.Authorizer. A request for a resource waits until what is
// stored is known; health does not, it has to say just that. And nobody is turned away
// by old knowledge: what has been granted counts from the answer to that request on.
//
// Kubernetes: a grant counts once the authorizer's informer has told of it.
func (a *authority) Authorize(ctx context.Context, asked auth.Attributes) (bool, string, error) {
	if !asked.IsPath() {
		select {
		case <-a.store.Ready():
		case <-ctx.Done():
			return false, "", ctx.Err()
		}
	}
	allowed, reason, err := a.modes.Authorize(ctx, asked)
	if allowed || err != nil || asked.IsPath() {
		return allowed, reason, err
	}
	if err := a.store.Current(ctx); err != nil {
		return false, reason, nil // etcd is gone: what is known has to do
	}
	return a.modes.Authorize(ctx, asked)
}
