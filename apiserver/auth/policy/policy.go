// Package policy is what a new cluster lets whom do: the roles and bindings that exist
// before anybody has written one.
//
// Upstream counterpart: plugin/pkg/auth/authorizer/rbac/bootstrappolicy, and the few
// bindings that kubeadm adds so that nodes can join. Objects returns them all, Repair
// (reconcile.go) mends those that exist already. The tables are roles.go (people and
// components), controllers.go (one role per controller), namespaces.go, bindings.go and
// addons.go.
//
// They are written in words that are split at spaces: the verbs, the groups (the core
// group, whose name is empty, is called core), the resources and, if not all are meant,
// the names of objects.
package policy

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

// role is a Role, or a ClusterRole where it has no namespace.
type role struct {
	namespace, name string
	sumOf           string // it has the rules of all roles that are part of this
	partOf          string
	rules           rules
}

type rules = []rbacv1.PolicyRule

// The verbs of reading and writing.
const (
	read       = "get list watch"
	readUpdate = "get list patch update watch"
	write      = "create delete deletecollection patch update"
	readWrite  = "create delete deletecollection get list patch update watch"
)

// events is what nearly everybody may do: tell what happened.
var events = rule("create patch update", "core events.k8s.io", "events")

func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: strings.Fields(groups), Resources: strings.Fields(resources)}
	for i, group := range r.APIGroups {
		if group == "core" {
			r.APIGroups[i] = ""
		}
	}
	for _, n := range names {
		r.ResourceNames = append(r.ResourceNames, strings.Fields(n)...)
	}
	return r
}

func urls(verbs, paths string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), NonResourceURLs: strings.Fields(paths)}
}

// aggregate is the prefix of the labels by which roles are summed up.
const aggregate = "rbac.authorization.k8s.io/aggregate-to-"

// Objects is the whole policy, roles before the bindings that name them. The caller owns it.
func Objects() []api.Object {
	all := Defaults()
	for _, r := range addonRoles {
		all = append(all, r.object())
	}
	for _, b := range addonBindings {
		all = append(all, b.object())
	}
	return all
}

// Defaults is what every Kubernetes API server brings along.
func Defaults() []api.Object {
	var all []api.Object
	for _, r := range clusterRoles {
		all = append(all, r.object())
	}
	for _, r := range controllerRoles {
		r.name = controllerPrefix + r.name
		all = append(all, r.object())
	}
	for _, r := range namespaceRoles {
		all = append(all, r.object())
	}
	for _, b := range bindings {
		all = append(all, b.object())
	}
	for _, r := range controllerRoles {
		all = append(all, binding{"", controllerPrefix + r.name, cluster, controllerPrefix + r.name, accounts(r.name)}.object())
	}
	for _, o := range all {
		mark(o)
	}
	return all
}

// Node is what the role system:node says: the rules for every node's agent.
func Node() []rbacv1.PolicyRule {
	for _, r := range clusterRoles {
		if r.name == "system:node" {
			return copied(r.rules)
		}
	}
	return nil
}

// mark says that the object is part of the policy and follows it: with the annotation
// set to "false" its owner has taken it over.
func mark(o api.Object) {
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels["kubernetes.io/bootstrapping"] = "rbac-defaults"
	o.SetLabels(labels)
	o.SetAnnotations(map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"})
}

// Resource is where an object of the policy is kept.
func Resource(o api.Object) schema.GroupVersionResource {
	resource := "clusterrolebindings"
	switch o.(type) {
	case *rbacv1.ClusterRole:
		resource = "clusterroles"
	case *rbacv1.Role:
		resource = "roles"
	case *rbacv1.RoleBinding:
		resource = "rolebindings"
	}
	return rbacv1.SchemeGroupVersion.WithResource(resource)
}

func (r role) object() api.Object {
	if r.namespace != "" {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.name}, Rules: copied(r.rules)}
	}
	o := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: r.name}, Rules: copied(r.rules)}
	if r.partOf != "" {
		o.Labels = map[string]string{aggregate + r.partOf: "true"}
	}
	if r.sumOf != "" {
		o.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{aggregate + r.sumOf: "true"}},
		}}
	}
	return o
}

func copied(rs rules) rules {
	var all rules
	for i := range rs {
		all = append(all, *rs[i].DeepCopy())
	}
	return all
}
