package rbac

import (
	"cmp"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"

	"orrery.example.org/api"
)

// Follower keeps the index like one kind's stored objects. It is a store.Observer.
type Follower struct {
	ix   *Index
	kind api.Object
}

// Follow is for the kind of which an object is given.
func (ix *Index) Follow(kind api.Object) *Follower { return &Follower{ix, kind} }

// Replace implements store.Observer.
func (f *Follower) Replace(objects []api.Object) {
	f.ix.mu.Lock()
	defer f.ix.mu.Unlock()
	f.ix.clear(f.kind)
	for _, o := range objects {
		f.ix.change(nil, o)
	}
	for _, o := range f.ix.defaults {
		if sameKind(o, f.kind) && !f.ix.has(o) {
			f.ix.change(nil, o)
		}
	}
}

// Change implements store.Observer.
func (f *Follower) Change(previous, next api.Object) {
	f.ix.mu.Lock()
	defer f.ix.mu.Unlock()
	f.ix.change(previous, next)
}

func sameKind(a, b api.Object) bool {
	kindOf := func(o api.Object) int {
		switch o.(type) {
		case *rbacv1.ClusterRole:
			return 0
		case *rbacv1.Role:
			return 1
		case *rbacv1.ClusterRoleBinding:
			return 2
		}
		return 3
	}
	return kindOf(a) == kindOf(b)
}

// has says whether something of the object's kind and name is in the index.
func (ix *Index) has(o api.Object) bool {
	switch o.(type) {
	case *rbacv1.ClusterRole, *rbacv1.Role:
		r := ix.roles[roleKey{o.GetNamespace(), o.GetName()}]
		return r != nil && r.exists
	}
	return ix.bindings[bindingKey{o.GetNamespace(), o.GetName()}] != nil
}

// clear forgets all objects of a kind.
func (ix *Index) clear(kind api.Object) {
	switch kind.(type) {
	case *rbacv1.ClusterRole, *rbacv1.Role:
		_, namespaced := kind.(*rbacv1.Role)
		for key := range ix.roles {
			if (key.namespace != "") == namespaced {
				ix.setRole(key, nil, false)
			}
		}
	default:
		_, namespaced := kind.(*rbacv1.RoleBinding)
		for key, b := range ix.bindings {
			if (key.namespace != "") == namespaced {
				ix.unbind(b)
			}
		}
	}
}

// change puts next in the place of previous.
func (ix *Index) change(previous, next api.Object) {
	either := next
	if next == nil {
		either = previous
	}
	name := either.GetName()
	switch o := either.(type) {
	case *rbacv1.ClusterRole:
		ix.setRole(roleKey{"", name}, o.Rules, next != nil)
	case *rbacv1.Role:
		ix.setRole(roleKey{o.Namespace, name}, o.Rules, next != nil)
	case *rbacv1.ClusterRoleBinding:
		ix.setBinding(bindingKey{"", name}, o.RoleRef, o.Subjects, next != nil)
	case *rbacv1.RoleBinding:
		ix.setBinding(bindingKey{o.Namespace, name}, o.RoleRef, o.Subjects, next != nil)
	}
}

func (ix *Index) setRole(key roleKey, rules []rbacv1.PolicyRule, exists bool) {
	r := ix.place(key)
	r.rules, r.exists = nil, exists
	if exists {
		r.rules = rules
	}
	ix.tidy(key, r)
}

// place finds or makes the role's place.
func (ix *Index) place(key roleKey) *role {
	r := ix.roles[key]
	if r == nil {
		r = &role{}
		ix.roles[key] = r
	}
	return r
}

// tidy removes the place of a role that doesn't exist and isn't named.
func (ix *Index) tidy(key roleKey, r *role) {
	if !r.exists && r.named == 0 {
		delete(ix.roles, key)
	}
}

func (ix *Index) setBinding(key bindingKey, ref rbacv1.RoleRef, subjects []rbacv1.Subject, exists bool) {
	if old := ix.bindings[key]; old != nil {
		ix.unbind(old)
	}
	if !exists {
		return
	}
	b := &binding{bindingKey: key, ref: ref, subjects: subjects}
	b.reasons = b.describe()
	ix.bindings[key] = b
	if at, ok := b.roleKey(); ok {
		b.role = ix.place(at)
		b.role.named++
	}
	s := ix.scopes[key.namespace]
	if s == nil {
		s = &scope{users: map[string][]*binding{}, groups: map[string][]*binding{}}
		ix.scopes[key.namespace] = s
	}
	s.each(b, func(in map[string][]*binding, name string) {
		if i, there := slices.BinarySearchFunc(in[name], b, byName); !there {
			in[name] = slices.Insert(in[name], i, b)
		}
	})
}

func (ix *Index) unbind(b *binding) {
	delete(ix.bindings, b.bindingKey)
	if at, ok := b.roleKey(); ok {
		b.role.named--
		ix.tidy(at, b.role)
	}
	s := ix.scopes[b.namespace]
	if s == nil {
		return // a binding of nobody, and the others here are gone
	}
	s.each(b, func(in map[string][]*binding, name string) {
		in[name] = slices.DeleteFunc(in[name], func(other *binding) bool { return other == b })
		if len(in[name]) == 0 {
			delete(in, name)
		}
	})
	if len(s.users)+len(s.groups) == 0 {
		delete(ix.scopes, b.namespace)
	}
}

// each visits the places where the binding's subjects are looked up.
func (s *scope) each(b *binding, visit func(in map[string][]*binding, name string)) {
	for _, subject := range b.subjects {
		switch name, group := principal(subject, b.namespace); {
		case name == "":
		case group:
			visit(s.groups, name)
		default:
			visit(s.users, name)
		}
	}
}

func byName(a, b *binding) int { return cmp.Compare(a.name, b.name) }

// roleKey is the role that the binding names: one of its own namespace, or a ClusterRole.
func (b *binding) roleKey() (roleKey, bool) {
	switch {
	case b.ref.Kind == "ClusterRole":
		return roleKey{"", b.ref.Name}, true
	case b.ref.Kind == "Role" && b.namespace != "":
		return roleKey{b.namespace, b.ref.Name}, true
	}
	return roleKey{}, false
}
