// Package node answers "may you" for the agents of nodes: each may reach what its own
// Pods need, and no other node's.
//
// Upstream counterpart: plugin/pkg/auth/authorizer/node. In flow Pods as they change
// (graph.go) and the questions of users called system:node:NAME; out flow decisions. A role
// cannot say "the Secrets of its Pods", so for some kinds there are rules of their own
// here; for all others, the role system:node counts. What a node may write into its own
// objects is NodeRestriction's (apiserver/admission).
//
// Left out: edges from PersistentVolumes, VolumeAttachments, ResourceSlices and
// PodCertificateRequests, kinds that the cluster does not have.
package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/selection"

	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/auth/policy"
	"orrery.example.org/apiserver/auth/rbac"
)

// Authorizer knows the nodes' Pods. It is an auth.Authorizer.
type Authorizer struct {
	Graph
	rules []rbacv1.PolicyRule
}

// New knows no Pods yet.
func New() *Authorizer { return &Authorizer{rules: policy.Node()} }

// Name is the node whose agent the user is. "" with true is an agent that does not say of
// which node.
func Name(u *auth.User) (name string, isNode bool) {
	name, isNode = strings.CutPrefix(u.Name, "system:node:")
	return name, isNode && slices.Contains(u.Groups, "system:nodes")
}

// Authorize implements auth.Authorizer. The reasons are upstream's.
func (z *Authorizer) Authorize(_ context.Context, a auth.Attributes) (bool, string, error) {
	name, isNode := Name(a.User)
	switch {
	case !isNode:
		return false, "", nil
	case name == "":
		return false, fmt.Sprintf("unknown node for user %q", a.User.Name), nil
	}
	if rule, ok := rules[a.Group+"/"+a.Resource]; ok && a.Resource != "" {
		reason, allowed := rule(z, name, &a)
		return allowed, reason, nil
	}
	for i := range z.rules {
		if rbac.Allows(&z.rules[i], &a) {
			return true, "", nil
		}
	}
	return false, "", nil
}

// rule decides for one kind of object. The reason is for who is refused.
type rule func(z *Authorizer, node string, a *auth.Attributes) (reason string, allowed bool)

// rules are those of the kinds that are not the same for all nodes.
var rules = map[string]rule{
	"/secrets":         reads(secrets),
	"/configmaps":      reads(configMaps),
	"/serviceaccounts": serviceAccounts,
	"/pods":            (*Authorizer).pods,
	"/nodes":           nodes,
	"/persistentvolumeclaims": func(z *Authorizer, node string, a *auth.Attributes) (string, bool) {
		if a.Subresource == "status" {
			return z.updatesStatus(node, claims, a)
		}
		return z.gets(node, claims, a)
	},
	"/persistentvolumes":                         gets(unknown),
	"resource.k8s.io/resourceclaims":             gets(resourceClaims),
	"storage.k8s.io/volumeattachments":           gets(unknown),
	"coordination.k8s.io/leases":                 leases,
	"storage.k8s.io/csinodes":                    csiNodes,
	"resource.k8s.io/resourceslices":             resourceSlices,
	"certificates.k8s.io/podcertificaterequests": podCertificateRequests,
}

// related is the end of most rules: one of the node's Pods needs the object.
func (z *Authorizer) related(node string, k kind, a *auth.Attributes) (string, bool) {
	switch {
	case a.Name == "":
		return "No Object name found", false
	case !z.reaches(vertex{k, a.Namespace, a.Name}, node):
		return fmt.Sprintf("no relationship found between node '%s' and this object", node), false
	}
	return "", true
}

func gets(k kind) rule {
	return func(z *Authorizer, node string, a *auth.Attributes) (string, bool) { return z.gets(node, k, a) }
}

func (z *Authorizer) gets(node string, k kind, a *auth.Attributes) (string, bool) {
	switch {
	case a.Verb != "get":
		return "can only get individual resources of this type", false
	case a.Subresource != "":
		return "cannot get subresource", false
	}
	return z.related(node, k, a)
}

func (z *Authorizer) updatesStatus(node string, k kind, a *auth.Attributes) (string, bool) {
	if a.Verb != "update" && a.Verb != "patch" {
		return "can only get/update/patch this type", false
	}
	return z.related(node, k, a)
}

// reads allows what an agent needs to follow a single object.
func reads(k kind) rule {
	return func(z *Authorizer, node string, a *auth.Attributes) (string, bool) {
		switch {
		case a.Verb != "get" && a.Verb != "list" && a.Verb != "watch":
			return "can only read resources of this type", false
		case a.Subresource != "":
			return "cannot read subresource", false
		case a.Namespace == "":
			return "can only read namespaced object of this type", false
		}
		return z.related(node, k, a)
	}
}

func serviceAccounts(z *Authorizer, node string, a *auth.Attributes) (string, bool) {
	switch {
	case a.Verb == "get" && a.Subresource == "":
		return reads(accounts)(z, node, a)
	case a.Verb != "create" || a.Name == "":
		return "can only create tokens for individual service accounts", false
	case a.Subresource != "token":
		return "can only create token subresource of serviceaccount", false
	}
	return z.related(node, accounts, a)
}

func leases(_ *Authorizer, node string, a *auth.Attributes) (string, bool) {
	switch {
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, a.Verb):
		return "can only get, create, update, patch, or delete a node lease", false
	case a.Namespace != "kube-node-lease":
		return `can only access leases in the "kube-node-lease" system namespace`, false
	case a.Verb != "create" && a.Name != node: // a new one's name is in its body
		return "can only access node lease with the same name as the requesting node", false
	}
	return "", true
}

func csiNodes(_ *Authorizer, node string, a *auth.Attributes) (string, bool) {
	switch {
	case a.Subresource == "status":
		return "CSINode status access requires CSIVolumeHealth feature", false
	case a.Subresource != "":
		return "cannot authorize CSINode subresources", false
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, a.Verb):
		return "can only get, create, update, patch, or delete a CSINode", false
	case a.Verb != "create" && a.Name != node:
		return "can only access CSINode with the same name as the requesting node", false
	}
	return "", true
}

func resourceSlices(z *Authorizer, node string, a *auth.Attributes) (string, bool) {
	if a.Subresource != "" {
		return "cannot authorize ResourceSlice subresources", false
	}
	switch a.Verb {
	case "create":
		return "", true
	case "get", "update", "patch", "delete":
		return z.related(node, unknown, a)
	case "watch", "list", "deletecollection":
		if selects(a, "spec.nodeName", node) {
			return "", true
		}
		return "can only list/watch/deletecollection resourceslices with nodeName field selector", false
	}
	return "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection", false
}

func podCertificateRequests(z *Authorizer, node string, a *auth.Attributes) (string, bool) {
	if a.Subresource != "" {
		return "nodes may not access the status subresource of PodCertificateRequests", false
	}
	switch a.Verb {
	case "create":
		return "", true
	case "get":
		return z.related(node, unknown, a)
	case "list", "watch":
		if selects(a, "spec.nodeName", node) {
			return "", true
		}
		return "can only list/watch podcertificaterequests with nodeName field selector", false
	}
	return fmt.Sprintf("nodes may not %s podcertificaterequests", a.Verb), false
}

// nodes: it may look at itself before it exists. What it writes is checked by admission.
func nodes(_ *Authorizer, node string, a *auth.Attributes) (string, bool) {
	switch a.Subresource + "/" + a.Verb {
	case "/create", "/update", "/patch", "status/update", "status/patch":
		return "", true
	case "/get", "/list", "/watch":
		switch a.Name {
		case node:
			return "", true
		case "":
			return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", node), false
		}
		return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, a.Name), false
	}
	return "", false
}

func (z *Authorizer) pods(node string, a *auth.Attributes) (string, bool) {
	switch a.Subresource + "/" + a.Verb {
	case "/get":
		return z.gets(node, pods, a)
	case "/list", "/watch":
		switch {
		case selects(a, "spec.nodeName", node):
			return "", true
		case a.Name != "":
			return z.related(node, pods, a)
		}
		return "can only list/watch pods with spec.nodeName field selector", false
	case "/create", "/delete", "status/update", "status/patch", "eviction/create": // admission looks at them
		return "", true
	}
	return "", false
}

// selects says whether only objects are asked for whose field has the value.
func selects(a *auth.Attributes, field, value string) bool {
	for _, r := range a.FieldSelector {
		if r.Field == field && r.Operator == selection.Equals && r.Value == value {
			return true
		}
	}
	return false
}
