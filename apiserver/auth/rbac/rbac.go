// Package rbac answers "may you" by roles and bindings.
//
// Upstream counterpart: plugin/pkg/auth/authorizer/rbac and pkg/registry/rbac. In flow
// the four kinds of rbac.authorization.k8s.io as they change (follow.go) and the
// questions; out flow decisions with their reasons, the rules that somebody has, and what
// he lacks to hand on a role (escalate.go). match.go says what a rule covers.
//
// Nothing is listed to answer a question. The index below is arranged by the question's
// own words: who asks, and where. It leads to the few bindings that name him, and these
// hold on to their roles. A change of a role or binding changes its own entries only.
//
// Kubernetes: goes through all bindings for each question.
package rbac

import (
	"context"
	"fmt"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
)

// Index is all roles and bindings. It is an auth.Authorizer.
type Index struct {
	mu       sync.RWMutex
	roles    map[roleKey]*role
	bindings map[bindingKey]*binding
	scopes   map[string]*scope // by namespace; "" holds the ClusterRoleBindings

	defaults []api.Object // count where nothing of their name is stored; until Settle
}

// roleKey names a Role, or a ClusterRole where it has no namespace.
type roleKey struct{ namespace, name string }

// bindingKey does the same for bindings.
type bindingKey struct{ namespace, name string }

// role is there as long as it exists or a binding names it.
type role struct {
	exists bool
	rules  []rbacv1.PolicyRule
	named  int // by how many bindings
}

// binding is one binding, ready to be asked.
type binding struct {
	bindingKey
	ref      rbacv1.RoleRef
	subjects []rbacv1.Subject
	reasons  []string // one per subject: "RBAC: allowed by …"
	role     *role    // nil: nothing of such a kind can be named
}

// scope is who has bindings in one namespace.
type scope struct {
	users, groups map[string][]*binding // in the order of their names
}

// New makes an index of the given roles and bindings. They count until Settle is called, for
// as long as nothing of their names is stored: they are what somebody is about to write.
func New(defaults []api.Object) *Index {
	ix := &Index{
		roles: map[roleKey]*role{}, bindings: map[bindingKey]*binding{}, scopes: map[string]*scope{},
		defaults: defaults,
	}
	for _, o := range defaults {
		ix.change(nil, o)
	}
	return ix
}

// Settle says that the defaults are written: from now on what is stored is all there is.
func (ix *Index) Settle() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.defaults = nil
}

// Authorize implements auth.Authorizer.
func (ix *Index) Authorize(_ context.Context, a auth.Attributes) (bool, string, error) {
	var (
		reason  string
		dangles []error
	)
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	ix.visit(a.User, a.Namespace, func(b *binding) bool {
		if !b.found() {
			dangles = append(dangles, b.dangling())
			return true
		}
		for i := range b.role.rules {
			if Allows(&b.role.rules[i], &a) {
				reason = b.reasons[b.subject(a.User)]
				return false
			}
		}
		return true
	})
	switch {
	case reason != "":
		return true, reason, nil
	case len(dangles) > 0:
		return false, fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(dangles)), nil
	}
	return false, "", nil
}

// visit shows the bindings that give the user something in a namespace ("": in none), those
// for the whole cluster first, until it is told to stop. One that names him in several ways
// may come several times.
func (ix *Index) visit(user *auth.User, namespace string, see func(*binding) bool) {
	if !ix.scopes[""].visit(user, see) {
		return
	}
	if namespace != "" {
		ix.scopes[namespace].visit(user, see)
	}
}

func (s *scope) visit(user *auth.User, see func(*binding) bool) bool {
	if s == nil {
		return true
	}
	for _, b := range s.users[user.Name] {
		if !see(b) {
			return false
		}
	}
	for _, group := range user.Groups {
		for _, b := range s.groups[group] {
			if !see(b) {
				return false
			}
		}
	}
	return true
}

// subject is the first of the binding's subjects that the user is.
func (b *binding) subject(user *auth.User) int {
	for i, s := range b.subjects {
		if name, group := principal(s, b.namespace); name != "" && is(user, name, group) {
			return i
		}
	}
	return 0
}

func is(user *auth.User, name string, group bool) bool {
	if !group {
		return user.Name == name
	}
	for _, g := range user.Groups {
		if g == name {
			return true
		}
	}
	return false
}

// accountPrefix begins the user names of service accounts.
const accountPrefix = "system:serviceaccount:"

// principal is the name by which the subject sends requests; "" for one who cannot. An
// account is of the binding's namespace if it names none.
func principal(s rbacv1.Subject, namespace string) (name string, group bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return s.Name, false
	case rbacv1.GroupKind:
		return s.Name, true
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		if namespace != "" {
			return accountPrefix + namespace + ":" + s.Name, false
		}
	}
	return "", false
}

// found says whether the binding's role exists.
func (b *binding) found() bool { return b.role != nil && b.role.exists }

// dangling is what to say of a binding whose role does not.
func (b *binding) dangling() error { return missing(b.ref) }

func missing(ref rbacv1.RoleRef) error {
	switch ref.Kind {
	case "Role":
		return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: "role"}, ref.Name)
	case "ClusterRole":
		return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterrole"}, ref.Name)
	}
	return fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

// describe makes the reason for each subject.
func (b *binding) describe() []string {
	kind, name := "ClusterRoleBinding", b.name
	if b.namespace != "" {
		kind, name = "RoleBinding", b.name+"/"+b.namespace
	}
	reasons := make([]string, len(b.subjects))
	for i, s := range b.subjects {
		who := s.Name
		if s.Kind == rbacv1.ServiceAccountKind {
			namespace := s.Namespace
			if namespace == "" {
				namespace = b.namespace
			}
			who += "/" + namespace
		}
		reasons[i] = fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s %q", kind, name, b.ref.Kind, b.ref.Name, s.Kind, who)
	}
	return reasons
}
