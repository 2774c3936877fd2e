package rbac

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/component-helpers/auth/rbac/validation"

	"orrery.example.org/apiserver/auth"
)

// Nobody may hand on what he has not got himself: whoever writes a role must hold all of
// its rules, whoever binds one, all rules of that role. Only the verbs escalate and bind
// lift that, and the API server asks for them first.

// RulesFor is what the user may do in a namespace. An error says which roles could not be
// found; the rules are all others.
func (ix *Index) RulesFor(user *auth.User, namespace string) ([]rbacv1.PolicyRule, error) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	var (
		rules   []rbacv1.PolicyRule
		dangles []error
	)
	seen := map[*binding]bool{}
	ix.visit(user, namespace, func(b *binding) bool {
		switch {
		case seen[b]:
		case b.found():
			rules = append(rules, b.role.rules...)
		default:
			dangles = append(dangles, b.dangling())
		}
		seen[b] = true
		return true
	})
	return rules, utilerrors.NewAggregate(dangles)
}

// RulesOf is what the role lets do that a binding in the namespace ("": for the cluster)
// names.
func (ix *Index) RulesOf(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	b := binding{bindingKey: bindingKey{namespace: namespace}, ref: ref}
	if key, ok := b.roleKey(); ok {
		b.role = ix.roles[key]
	}
	if !b.found() {
		return nil, missing(ref)
	}
	return b.role.rules, nil
}

// ConfirmNoEscalation says what the user lacks of the rules in the namespace.
func (ix *Index) ConfirmNoEscalation(user *auth.User, namespace string, rules []rbacv1.PolicyRule) error {
	held, unresolved := ix.RulesFor(user, namespace)
	covered, lacking := validation.Covers(held, rules)
	if covered {
		return nil
	}
	var texts []string
	for _, r := range compact(lacking) {
		texts = append(texts, text(r))
	}
	slices.Sort(texts)
	msg := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		user.Name, user.Groups, strings.Join(slices.Compact(texts), "\n"))
	if unresolved != nil {
		msg += fmt.Sprintf("; resolution errors: %v", []error{unresolved})
	}
	return errors.New(msg)
}

// compact joins rules that differ in their verbs only. Covers has taken them apart: each
// has one verb, one group, one resource and at most one name.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var joined []rbacv1.PolicyRule
	for _, r := range rules {
		same := func(o rbacv1.PolicyRule) bool {
			return len(r.NonResourceURLs) == 0 && len(o.NonResourceURLs) == 0 && slices.Equal(o.APIGroups, r.APIGroups) &&
				slices.Equal(o.Resources, r.Resources) && slices.Equal(o.ResourceNames, r.ResourceNames)
		}
		if i := slices.IndexFunc(joined, same); i >= 0 {
			joined[i].Verbs = append(joined[i].Verbs, r.Verbs...)
		} else {
			joined = append(joined, r)
		}
	}
	return joined
}

func text(r rbacv1.PolicyRule) string {
	var parts []string
	for _, p := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs},
	} {
		if len(p.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", p.name, p.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
