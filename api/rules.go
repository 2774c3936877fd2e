package api

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// The rules that several kinds share. The messages are upstream's: people search for them.

var protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

// invalid makes one error of each message about a value.
func invalid(at *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(at, value, m))
	}
	return errs
}

func dnsLabel(value string, at *field.Path) field.ErrorList {
	return invalid(at, value, validation.IsDNS1123Label(value))
}

func dnsSubdomain(value string, at *field.Path) field.ErrorList {
	return invalid(at, value, validation.IsDNS1123Subdomain(value))
}

func qualifiedName(value string, at *field.Path) field.ErrorList {
	return invalid(at, value, validation.IsQualifiedName(value))
}

func portNumber(value int32, at *field.Path) field.ErrorList {
	return invalid(at, value, validation.IsValidPortNum(int(value)))
}

func nonNegative[N int32 | int64](value N, at *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(value), at)
}

func immutable(value, old any, at *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(value, old, at)
}

// portNumberOrName is for a probe's or a Service's target port.
func portNumberOrName(port intstr.IntOrString, at *field.Path) field.ErrorList {
	if port.Type == intstr.Int {
		return invalid(at, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	}
	return invalid(at, port.StrVal, validation.IsValidPortName(port.StrVal))
}

// oneOf requires one of the allowed values.
func oneOf[T ~string](value T, at *field.Path, allowed ...T) field.ErrorList {
	switch {
	case value == "":
		return field.ErrorList{field.Required(at, "")}
	case !slices.Contains(allowed, value):
		return field.ErrorList{field.NotSupported(at, value, allowed)}
	}
	return nil
}

// supported is oneOf for fields that may be left out: there the empty value is as wrong
// as any other.
func supported[T ~string](value T, at *field.Path, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, value, allowed)}
}

// unique reports a value that seen already has, and remembers it.
func unique[T comparable](value T, seen sets.Set[T], at *field.Path) field.ErrorList {
	if seen.Has(value) {
		return field.ErrorList{field.Duplicate(at, value)}
	}
	seen.Insert(value)
	return nil
}

// ipAddress wants an address in its usual form. Older servers took others as well, such
// as 010.0.0.1; those that are stored (before) may stay.
func ipAddress(value string, at *field.Path, before ...string) field.ErrorList {
	return validation.IsValidIPForLegacyField(at, value, true, before)
}

// cidr is ipAddress for networks.
func cidr(value string, at *field.Path, before ...string) field.ErrorList {
	return validation.IsValidCIDRForLegacyField(at, value, true, before)
}

// ipWarnings are about an address that is written in an unusual way.
func ipWarnings(value string, at *field.Path) []string {
	if len(validation.IsValidIPForLegacyField(at, value, false, nil)) > 0 {
		return nil // there is none, or it will be refused
	}
	return validation.GetWarningsForIP(at, value)
}

func cidrWarnings(value string, at *field.Path) []string {
	if len(validation.IsValidCIDRForLegacyField(at, value, false, nil)) > 0 {
		return nil
	}
	return validation.GetWarningsForCIDR(at, value)
}

// notAnAddress is for names that could be mistaken for addresses.
func notAnAddress(name string, at *field.Path) field.ErrorList {
	if _, err := netip.ParseAddr(name); err == nil {
		return field.ErrorList{field.Invalid(at, name, "must be a DNS name, not an IP address")}
	}
	return nil
}

// reference checks the parts of a reference to an object of any kind.
func reference(group *string, kind, name string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if group != nil {
		errs = append(errs, dnsSubdomain(*group, at.Child("apiGroup"))...)
	}
	errs = append(errs, pathSegment(kind, at.Child("kind"))...)
	return append(errs, pathSegment(name, at.Child("name"))...)
}

// pathSegment is what can stand between two slashes of a path.
func pathSegment(value string, at *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return invalid(at, value, content.IsPathSegmentName(value))
}

// endpointIP rejects addresses that no other machine could reach by routing.
func endpointIP(value string, at *field.Path) field.ErrorList {
	ip := netutils.ParseIPSloppy(value) // who calls has said what else is wrong with it
	if ip == nil {
		return field.ErrorList{field.Invalid(at, value, "must be a valid IP address")}
	}
	switch {
	case ip.IsUnspecified():
		return invalid(at, value, []string{"may not be unspecified (0.0.0.0 or ::)"})
	case ip.IsLoopback():
		return invalid(at, value, []string{"may not be in the loopback range (127.0.0.0/8, ::1/128)"})
	case ip.IsLinkLocalUnicast():
		return invalid(at, value, []string{"may not be in the link-local range (169.254.0.0/16, fe80::/10)"})
	case ip.IsLinkLocalMulticast():
		return invalid(at, value, []string{"may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"})
	}
	return nil
}

// countOrPercent is for "25%" or 3.
func countOrPercent(value intstr.IntOrString, at *field.Path) field.ErrorList {
	if value.Type == intstr.String {
		return invalid(at, value, validation.IsValidPercent(value.StrVal))
	}
	return nonNegative(value.IntVal, at)
}

// atMostAll is about a percentage that countOrPercent found to be one.
func atMostAll(value intstr.IntOrString, at *field.Path) field.ErrorList {
	if share, err := intstr.GetScaledValueFromIntOrPercent(&value, 100, false); err == nil && value.Type == intstr.String && share > 100 {
		return field.ErrorList{field.Invalid(at, value, "must not be greater than 100%")}
	}
	return nil
}

// labelSelector validates a selector that must not be empty.
func labelSelector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(at, s, "empty selector is invalid for deployment"))
	}
	return errs
}

func validateQuantity(q resource.Quantity, at *field.Path) field.ErrorList {
	if q.Sign() < 0 {
		return field.ErrorList{field.Invalid(at, q.String(), apivalidation.IsNegativeErrorMsg)}
	}
	return nil
}

// relativePath is for paths inside a volume.
func relativePath(value string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(value, "/") {
		errs = append(errs, field.Invalid(at, value, "must be a relative path"))
	}
	if slices.Contains(strings.Split(value, "/"), "..") {
		errs = append(errs, field.Invalid(at, value, "must not contain '..'"))
	}
	return errs
}

// nothing makes an empty list one that isn't there. Lists that are always written down are
// null then, as in upstream's storage, which doesn't know the difference.
func nothing[T any](list *[]T) {
	if len(*list) == 0 {
		*list = nil
	}
}

// ordered walks a map by its keys, so that errors come in the same order every time.
func ordered[K cmp.Ordered, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}

// set fills a pointer field that was left out.
func set[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// deref is what a pointer points to, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		p = new(T)
	}
	return *p
}

// fill fills a field that has its zero value.
func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
