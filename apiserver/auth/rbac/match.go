package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"orrery.example.org/apiserver/auth"
)

// Allows says whether a rule covers what is asked. "*" stands for all verbs, groups,
// resources or paths, never for a part of them, but for two exceptions: "*/scale" is that
// subresource of everything, and a path may end in "*".
func Allows(r *rbacv1.PolicyRule, a *auth.Attributes) bool {
	if !anyOr(r.Verbs, a.Verb) {
		return false
	}
	if a.IsPath() {
		return slices.ContainsFunc(r.NonResourceURLs, func(pattern string) bool { return pathMatches(pattern, a.Path) })
	}
	return anyOr(r.APIGroups, a.Group) && resourceMatches(r.Resources, a.Resource, a.Subresource) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.Name))
}

func anyOr(set []string, value string) bool {
	for _, s := range set {
		if s == value || s == "*" {
			return true
		}
	}
	return false
}

// resourceMatches looks for resource/subresource without putting that string together.
func resourceMatches(set []string, resource, subresource string) bool {
	for _, s := range set {
		switch {
		case s == "*":
			return true
		case subresource == "":
			if s == resource {
				return true
			}
		case ends(s, subresource):
			if of := s[:len(s)-len(subresource)-1]; of == resource || of == "*" {
				return true
			}
		}
	}
	return false
}

// ends says whether s is something, a slash and the subresource.
func ends(s, subresource string) bool {
	return len(s) > len(subresource) && strings.HasSuffix(s, subresource) && s[len(s)-len(subresource)-1] == '/'
}

func pathMatches(pattern, path string) bool {
	if pattern == path || pattern == "*" {
		return true
	}
	return strings.HasSuffix(pattern, "*") && strings.HasPrefix(path, strings.TrimRight(pattern, "*"))
}
