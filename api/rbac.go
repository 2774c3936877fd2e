package api

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A role lists what may be done, a binding says who may do it. Both exist for one
// namespace and for the cluster. The four share this file because they share their
// rules: apiserver/auth/rbac says what they mean.

var roles = define(Kind{
	Versions:       []Version{version[rbacv1.Role, rbacv1.RoleList](rbacv1.SchemeGroupVersion, "Role")},
	Resource:       "roles",
	Singular:       "role",
	Namespaced:     true,
	CreateOnUpdate: true,
	Columns:        roleColumns,
}, Rules[rbacv1.Role]{
	Default: func(r *rbacv1.Role) { nothing(&r.Rules) },
	Validate: func(r *rbacv1.Role) field.ErrorList {
		return append(validatePolicyRules(r.Rules, true), requireVerbs(r.Rules)...)
	},
})

var clusterRoles = define(Kind{
	Versions:       []Version{version[rbacv1.ClusterRole, rbacv1.ClusterRoleList](rbacv1.SchemeGroupVersion, "ClusterRole")},
	Resource:       "clusterroles",
	Singular:       "clusterrole",
	CreateOnUpdate: true,
	Columns:        roleColumns,
}, Rules[rbacv1.ClusterRole]{
	Default: func(r *rbacv1.ClusterRole) { nothing(&r.Rules) },
	Validate: func(r *rbacv1.ClusterRole) field.ErrorList {
		return validateClusterRole(r, metavalidation.LabelSelectorValidationOptions{})
	},
	ValidateUpdate: validateClusterRoleUpdate,
})

var roleBindings = define(Kind{
	Versions:       []Version{version[rbacv1.RoleBinding, rbacv1.RoleBindingList](rbacv1.SchemeGroupVersion, "RoleBinding")},
	Resource:       "rolebindings",
	Singular:       "rolebinding",
	Namespaced:     true,
	CreateOnUpdate: true,
	Columns: bindingColumns("roleBinding", doc(rbacv1beta1.RoleBinding{}, "roleRef"), func(b *rbacv1.RoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) {
		return b.RoleRef, b.Subjects
	}),
}, Rules[rbacv1.RoleBinding]{
	Default:  func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate: validateRoleBinding,
	ValidateUpdate: func(b, old *rbacv1.RoleBinding) field.ErrorList {
		return append(validateRoleBinding(b), immutable(shownRef(b.RoleRef), shownRef(old.RoleRef), field.NewPath("roleRef"))...)
	},
})

var clusterRoleBindings = define(Kind{
	Versions:       []Version{version[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](rbacv1.SchemeGroupVersion, "ClusterRoleBinding")},
	Resource:       "clusterrolebindings",
	Singular:       "clusterrolebinding",
	CreateOnUpdate: true,
	Columns: bindingColumns("clusterRoleBinding", doc(rbacv1beta1.ClusterRoleBinding{}, "roleRef"), func(b *rbacv1.ClusterRoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) {
		return b.RoleRef, b.Subjects
	}),
}, Rules[rbacv1.ClusterRoleBinding]{
	Default:  func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate: validateClusterRoleBinding,
	ValidateUpdate: func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
		return append(validateClusterRoleBinding(b), immutable(shownRef(b.RoleRef), shownRef(old.RoleRef), field.NewPath("roleRef"))...)
	},
})

// roleColumns are what upstream shows of everything it has no columns for.
var roleColumns = []Column{nameColumn(), createdColumn()}

// bindingColumns take the role's description from v1beta1, as upstream's do.
func bindingColumns[T any, P object[T]](kind, roleDoc string, parts func(*T) (rbacv1.RoleRef, []rbacv1.Subject)) []Column {
	subjects := func(of string) func(*T) string {
		return func(b *T) string {
			_, all := parts(b)
			return strings.Join(subjectNames(all, of), ", ")
		}
	}
	return []Column{
		nameColumn(),
		column[T, string, P]("Role", roleDoc, func(b *T) string {
			ref, _ := parts(b)
			return ref.Kind + "/" + ref.Name
		}),
		ageColumn(),
		column[T, string, P]("Users", "Users in the "+kind, subjects(rbacv1.UserKind)).wide(),
		column[T, string, P]("Groups", "Groups in the "+kind, subjects(rbacv1.GroupKind)).wide(),
		column[T, string, P]("ServiceAccounts", "ServiceAccounts in the "+kind, subjects(rbacv1.ServiceAccountKind)).wide(),
	}
}

// shownRef is how upstream's messages show a RoleRef: its internal types have no names for
// JSON.
type shownRef struct{ APIGroup, Kind, Name string }

// subjectNames are the subjects of one kind; an account's name has its namespace.
func subjectNames(subjects []rbacv1.Subject, kind string) []string {
	var names []string
	for _, s := range subjects {
		switch {
		case s.Kind != kind:
		case kind == rbacv1.ServiceAccountKind:
			names = append(names, s.Namespace+"/"+s.Name)
		default:
			names = append(names, s.Name)
		}
	}
	return names
}

// defaultBinding fills in the group of what the binding names.
func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	fill(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if s := &subjects[i]; s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind {
			fill(&s.APIGroup, rbacv1.GroupName)
		}
	}
}

func validatePolicyRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		errs = append(errs, validatePolicyRule(&rules[i], namespaced, field.NewPath("rules").Index(i))...)
	}
	return errs
}

// requireVerbs is told behind everything else: upstream has generated that rule.
func requireVerbs(rules []rbacv1.PolicyRule) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		if len(rules[i].Verbs) == 0 {
			errs = append(errs, field.Required(field.NewPath("rules").Index(i).Child("verbs"), ""))
		}
	}
	return errs
}

func validatePolicyRule(r *rbacv1.PolicyRule, namespaced bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.NonResourceURLs) > 0 {
		if namespaced {
			errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
		}
		if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
			errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
		}
		return errs
	}
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	if len(r.Resources) == 0 {
		errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
	}
	return errs
}

func validateClusterRole(r *rbacv1.ClusterRole, o metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	errs := validatePolicyRules(r.Rules, false)
	if r.AggregationRule == nil {
		return append(errs, requireVerbs(r.Rules)...)
	}
	at := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
		errs = append(errs, field.Required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		s := &r.AggregationRule.ClusterRoleSelectors[i]
		errs = append(errs, metavalidation.ValidateLabelSelector(s, o, at.Index(i))...)
		if selector, err := metav1.LabelSelectorAsSelector(s); err != nil {
			errs = append(errs, field.Invalid(at.Index(i), selector, "invalid label selector."))
		}
	}
	return append(errs, requireVerbs(r.Rules)...)
}

// validateClusterRoleUpdate lets values stay that were stored before they were checked.
func validateClusterRoleUpdate(r, old *rbacv1.ClusterRole) field.ErrorList {
	var o metavalidation.LabelSelectorValidationOptions
	if old.AggregationRule != nil {
		for i := range old.AggregationRule.ClusterRoleSelectors {
			s := &old.AggregationRule.ClusterRoleSelectors[i]
			o.AllowInvalidLabelValueInSelector = o.AllowInvalidLabelValueInSelector || len(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0
		}
	}
	return validateClusterRole(r, o)
}

func validateRoleBinding(b *rbacv1.RoleBinding) field.ErrorList {
	return validateBinding(b.RoleRef, b.Subjects, true, "Role", "ClusterRole")
}

func validateClusterRoleBinding(b *rbacv1.ClusterRoleBinding) field.ErrorList {
	return validateBinding(b.RoleRef, b.Subjects, false, "ClusterRole")
}

func validateBinding(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool, kinds ...string) field.ErrorList {
	at := field.NewPath("roleRef")
	errs := supported(ref.APIGroup, at.Child("apiGroup"), rbacv1.GroupName)
	errs = append(errs, supported(ref.Kind, at.Child("kind"), kinds...)...)
	if ref.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		errs = append(errs, invalid(at.Child("name"), ref.Name, path.IsValidPathSegmentName(ref.Name))...)
	}
	for i, s := range subjects {
		errs = append(errs, validateSubject(s, namespaced, field.NewPath("subjects").Index(i))...)
	}
	return errs
}

func validateSubject(s rbacv1.Subject, namespaced bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			errs = append(errs, dnsSubdomain(s.Name, at.Child("name"))...)
		}
		errs = append(errs, supported(s.APIGroup, at.Child("apiGroup"), "")...)
		if !namespaced && s.Namespace == "" {
			errs = append(errs, field.Required(at.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		errs = append(errs, supported(s.APIGroup, at.Child("apiGroup"), rbacv1.GroupName)...)
	default:
		errs = append(errs, supported(s.Kind, at.Child("kind"), rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)...)
	}
	return errs
}
