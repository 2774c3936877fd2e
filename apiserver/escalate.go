package apiserver

import (
	"errors"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
)

// Whoever writes a role or a binding could give himself any right that way. So he must
// hold what he hands on, or have the verb that lifts this: escalate for roles, bind for
// the role that a binding names.
//
// Upstream counterpart: pkg/registry/rbac/*/policybased.

// confirm is asked about every write once admission has made of it what it will be.
func (h *handlers) confirm(c *call, next, old api.Object) error {
	if c.kind.Storage().Group != rbacv1.GroupName || slices.Contains(c.user.Groups, auth.GroupMasters) || onlyCollected(next, old) {
		return nil
	}
	var err error
	switch o := next.(type) {
	case *rbacv1.Role:
		err = h.confirmRules(c, o.Rules)
	case *rbacv1.ClusterRole:
		was, _ := old.(*rbacv1.ClusterRole)
		err = h.confirmClusterRole(c, o, was)
	case *rbacv1.RoleBinding:
		err = h.confirmBinding(c, o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		err = h.confirmBinding(c, o.RoleRef)
	}
	var known apierrors.APIStatus
	if err == nil || errors.As(err, &known) {
		return err
	}
	return apierrors.NewForbidden(c.kind.GroupResource(), next.GetName(), err)
}

func (h *handlers) confirmRules(c *call, rules []rbacv1.PolicyRule) error {
	if h.lifted(c, auth.Attributes{Verb: "escalate", Resource: c.kind.Resource, Name: c.name}) {
		return nil
	}
	return h.rules.ConfirmNoEscalation(c.user, c.namespace, rules)
}

// everything is what one must hold to write a sum of roles: anything may become part of it.
var everything = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

func (h *handlers) confirmClusterRole(c *call, next, old *rbacv1.ClusterRole) error {
	if err := h.confirmRules(c, next.Rules); err != nil {
		return err
	}
	if (sum(next) || sum(old)) && h.confirmRules(c, everything) != nil {
		return errors.New("must have cluster-admin privileges to use the aggregationRule")
	}
	return nil
}

func sum(r *rbacv1.ClusterRole) bool {
	return r != nil && r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

func (h *handlers) confirmBinding(c *call, ref rbacv1.RoleRef) error {
	for kind, resource := range map[string]string{"Role": "roles", "ClusterRole": "clusterroles"} {
		if ref.Kind == kind && h.lifted(c, auth.Attributes{Verb: "bind", Resource: resource, Name: ref.Name}) {
			return nil
		}
	}
	rules, err := h.rules.RulesOf(ref, c.namespace)
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(c.kind.GroupResource(), ref.Name) // upstream names the request's resource
	}
	if err != nil {
		return err
	}
	return h.rules.ConfirmNoEscalation(c.user, c.namespace, rules)
}

// lifted asks whether the user has a verb of this group in the call's namespace.
func (h *handlers) lifted(c *call, a auth.Attributes) bool {
	a.User, a.Group, a.Version, a.Namespace = c.user, rbacv1.GroupName, "*", c.namespace
	allowed, _, err := h.authz.Authorize(c.ctx(), a)
	return allowed && err == nil
}

// onlyCollected says whether the update changes only what a garbage collector must.
func onlyCollected(next, old api.Object) bool {
	if old == nil {
		return false
	}
	next = next.DeepCopyObject().(api.Object)
	next.SetOwnerReferences(old.GetOwnerReferences())
	next.SetFinalizers(old.GetFinalizers())
	next.SetSelfLink(old.GetSelfLink())
	next.SetManagedFields(old.GetManagedFields())
	return equality.Semantic.DeepEqual(next, old)
}
