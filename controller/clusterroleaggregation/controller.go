// Package clusterroleaggregation fills in the rules of ClusterRoles that are sums of
// others: admin, edit and view have no rules of their own but say by labels whose they
// take. Who brings along a new kind labels a role for it, and whoever may view everything
// may view that.
//
// Upstream counterpart: pkg/controller/clusterroleaggregation.
//
// What flows in: ClusterRoles. What flows out: the rules of those with an aggregationRule,
// as a server-side apply that owns them. This loop may write rules that it doesn't hold
// itself (the verb escalate), or it could sum up nothing.
package clusterroleaggregation

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/kubernetes"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"

	"orrery.example.org/controller/loop"
)

// manager is upstream's name for who owns the rules.
const manager = "clusterrole-aggregation-controller"

// Controller is the loop. Its names are those of ClusterRoles with an aggregationRule.
type Controller struct {
	*loop.Loop[loop.Name]

	client kubernetes.Interface
	roles  rbaclisters.ClusterRoleLister
}

// New makes the loop and says what wakes it.
func New(env loop.Env) *Controller {
	roles := env.Informers.Rbac().V1().ClusterRoles()
	c := &Controller{client: env.Client, roles: roles.Lister()}
	c.Loop = loop.New("clusterroleaggregation", env, c.sync)
	loop.Watch(c.Loop, roles.Informer(), func(_, _ *rbacv1.ClusterRole) { c.all() })
	return c
}

// all has every sum looked at: any change may belong to any of them, even to a sum of
// sums, and they are few.
func (c *Controller) all() {
	roles, err := c.roles.List(labels.Everything())
	if err != nil {
		c.Log().Error("list ClusterRoles", "err", err)
	}
	for _, r := range roles {
		if r.AggregationRule != nil {
			c.Add(loop.NameOf(r))
		}
	}
}

// sync sums up one role.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	role, err := c.roles.Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || role.AggregationRule == nil {
		return err
	}
	all, err := c.roles.List(labels.Everything())
	if err != nil {
		return err
	}
	rules, err := sum(role, all)
	if err != nil {
		return fmt.Errorf("sum up ClusterRole %s: %w", role.Name, err)
	}
	if equality.Semantic.DeepEqual(rules, role.Rules) {
		return nil
	}
	apply := applyrbacv1.ClusterRole(role.Name).WithRules(applied(rules)...)
	_, err = c.client.RbacV1().ClusterRoles().Apply(ctx, apply, metav1.ApplyOptions{FieldManager: manager, Force: true})
	if err != nil {
		return fmt.Errorf("write the rules of ClusterRole %s: %w", role.Name, err)
	}
	return nil
}

// applied are the rules in the form in which they are applied.
func applied(rules []rbacv1.PolicyRule) []*applyrbacv1.PolicyRuleApplyConfiguration {
	var all []*applyrbacv1.PolicyRuleApplyConfiguration
	for _, r := range rules {
		all = append(all, &applyrbacv1.PolicyRuleApplyConfiguration{
			Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources,
			ResourceNames: r.ResourceNames, NonResourceURLs: r.NonResourceURLs,
		})
	}
	return all
}
