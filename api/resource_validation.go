package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resources "k8s.io/component-helpers/resource"
)

// standardResources may be named without a domain, here or in a quota.
var standardResources = sets.New("cpu", "memory", "ephemeral-storage", "storage", "requests.cpu", "requests.memory",
	"requests.ephemeral-storage", "requests.storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
	"pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
	"services.nodeports", "services.loadbalancers")

var containerResourceNames = sets.New(corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage)

func isHugePage(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// native resources are Kubernetes' own, others come from device plugins.
func native(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// overcommits: requests below the limit make sense only of what can be shared.
func overcommits(name corev1.ResourceName) bool { return native(name) && !isHugePage(name) }

func resourceName(name corev1.ResourceName, at *field.Path) field.ErrorList {
	errs := qualifiedName(string(name), at)
	if len(errs) == 0 && !strings.Contains(string(name), "/") && !standardResources.Has(string(name)) &&
		!isHugePage(corev1.ResourceName(strings.TrimPrefix(string(name), corev1.DefaultResourceRequestsPrefix))) {
		errs = append(errs, field.Invalid(at, name, "must be a standard resource type or fully qualified"))
	}
	return errs
}

func containerResourceName(name corev1.ResourceName, at *field.Path) field.ErrorList {
	errs := resourceName(name, at)
	const inQuota = corev1.DefaultResourceRequestsPrefix
	switch bare := !strings.Contains(string(name), "/"); {
	case bare && !containerResourceNames.Has(name) && !isHugePage(name):
		errs = append(errs, field.Invalid(at, name, "must be a standard resource for containers"))
	case !bare && !native(name) && (strings.HasPrefix(string(name), inQuota) || len(validation.IsQualifiedName(inQuota+string(name))) > 0):
		errs = append(errs, field.Invalid(at, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

func podResourceName(name corev1.ResourceName, at *field.Path) field.ErrorList {
	errs := resourceName(name, at)
	if len(errs) == 0 && !resources.IsSupportedPodLevelResource(name) {
		errs = append(errs, field.NotSupported(at, name, sets.List(resources.SupportedPodLevelResources())))
	}
	return errs
}

// validateResources checks what a container or a Pod asks for. claims are the names of the
// Pod's resourceClaims.
func validateResources(r *corev1.ResourceRequirements, claims sets.Set[string],
	nameRule func(corev1.ResourceName, *field.Path) field.ErrorList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	pages, memory := false, false
	check := func(name corev1.ResourceName, q resource.Quantity, at *field.Path) {
		errs = append(errs, nameRule(name, at)...)
		errs = append(errs, validateQuantity(q, at)...)
		if isHugePage(name) && !wholePages(name, q) {
			errs = append(errs, field.Invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), name)))
		}
		pages = pages || isHugePage(name)
		memory = memory || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	for name, limit := range ordered(r.Limits) {
		check(name, limit, at.Child("limits").Key(string(name)))
	}
	for name, request := range ordered(r.Requests) {
		at, limits := at.Child("requests"), at.Child("limits")
		check(name, request, at.Key(string(name)))
		switch limit, limited := r.Limits[name]; {
		case !limited && !overcommits(name):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		case limited && !overcommits(name) && request.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(at, request.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(at, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	if pages && !memory {
		errs = append(errs, field.Forbidden(at, "HugePages require cpu or memory"))
	}
	return append(errs, validateClaimNames(r.Claims, claims, at.Child("claims"))...)
}

func wholePages(name corev1.ResourceName, q resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	return err == nil && size.Sign() > 0 && size.MilliValue()%1000 == 0 && q.Value()%size.Value() == 0
}

// validateClaimNames: what a container claims is claimed once, as a whole or by requests.
func validateClaimNames(list []corev1.ResourceClaim, claims sets.Set[string], at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, c := range list {
		at, key := at.Index(i), c.Name
		if c.Name == "" {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		if seen.Has(c.Name) {
			errs = append(errs, field.Duplicate(at, c.Name))
		} else {
			if c.Request != "" {
				errs = append(errs, dnsLabel(c.Request, at.Child("request"))...)
				key += "/" + c.Request
			}
			part := func(other string) bool { return strings.HasPrefix(other, c.Name+"/") }
			if seen.Has(key) || c.Request == "" && slices.ContainsFunc(seen.UnsortedList(), part) {
				errs = append(errs, field.Duplicate(at, key))
			}
			seen.Insert(key)
		}
		if !claims.Has(c.Name) {
			missing := field.NotFound(at, c.Name)
			missing.Detail = "must be one of the names in pod.spec.resourceClaims"
			if len(claims) == 0 {
				missing.Detail += " which is empty"
			} else {
				missing.Detail += ": " + strings.Join(sets.List(claims), ", ")
			}
			errs = append(errs, missing)
		}
	}
	return errs
}

// validateResourceClaims checks the claims of a Pod, and returns the names by which its
// containers may refer to them.
func validateResourceClaims(claims []corev1.PodResourceClaim, at *field.Path) (sets.Set[string], field.ErrorList) {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, c := range claims {
		at := at.Index(i)
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names.Has(c.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			errs = append(errs, dnsLabel(c.Name, at.Child("name"))...)
			names.Insert(c.Name)
		}
		switch claim, template := c.ResourceClaimName, c.ResourceClaimTemplateName; {
		case claim != nil && template != nil:
			errs = append(errs, field.Invalid(at, untagged(c), "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		case claim == nil && template == nil:
			errs = append(errs, field.Invalid(at, untagged(c), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
		for _, ref := range []struct {
			field string
			name  *string
		}{{"resourceClaimName", c.ResourceClaimName}, {"resourceClaimTemplateName", c.ResourceClaimTemplateName}} {
			if ref.name != nil {
				errs = append(errs, invalid(at.Child(ref.field), *ref.name, apivalidation.NameIsDNSSubdomain(*ref.name, false))...)
			}
		}
	}
	return names, errs
}
