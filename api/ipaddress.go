package api

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// An IPAddress shows that an address is taken, and by whom. Its name is the address.
var ipAddresses = define(Kind{
	Versions:     []Version{version[networkingv1.IPAddress, networkingv1.IPAddressList](networkingv1.SchemeGroupVersion, "IPAddress")},
	Resource:     "ipaddresses",
	Singular:     "ipaddress",
	ShortNames:   []string{"ip"},
	ValidateName: ipAddressName,
	Columns: []Column{
		nameColumn(),
		column("ParentRef", doc(networkingv1.IPAddressSpec{}, "parentRef"), parentCell),
	},
}, Rules[networkingv1.IPAddress]{
	Validate: func(ip *networkingv1.IPAddress) field.ErrorList {
		return validateParent(ip.Spec.ParentRef, field.NewPath("spec", "parentRef"))
	},
	ValidateUpdate: func(ip, old *networkingv1.IPAddress) field.ErrorList {
		at := field.NewPath("spec", "parentRef")
		return slices.Concat(validateParent(ip.Spec.ParentRef, at), immutable(ip.Spec.ParentRef, old.Spec.ParentRef, at))
	},
})

// IPAllocator is what upstream calls the allocator of ClusterIPs: the manager of the
// IPAddresses that Services have.
const IPAllocator = "ipallocator.k8s.io"

// ServiceIPAddress is the IPAddress of a Service's ClusterIP.
func ServiceIPAddress(ip netip.Addr, namespace, name string) *networkingv1.IPAddress {
	family := corev1.IPv4Protocol
	if ip.Is6() {
		family = corev1.IPv6Protocol
	}
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(family), networkingv1.LabelManagedBy: IPAllocator,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: namespace, Name: name}},
	}
}

// ipAddressName: every address has one name only.
func ipAddressName(name string, _ bool) []string {
	var messages []string
	for _, err := range validation.IsValidIP(nil, name) {
		messages = append(messages, err.Detail)
	}
	return messages
}

func validateParent(ref *networkingv1.ParentReference, at *field.Path) field.ErrorList {
	if ref == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if ref.Group != "" { // the core group is empty
		errs = append(errs, dnsSubdomain(ref.Group, at.Child("group"))...)
	}
	for _, f := range []struct {
		name, value string
		required    bool
	}{{"resource", ref.Resource, true}, {"name", ref.Name, true}, {"namespace", ref.Namespace, false}} {
		switch {
		case f.value != "":
			errs = append(errs, invalid(at.Child(f.name), f.value, path.IsValidPathSegmentName(f.value))...)
		case f.required:
			errs = append(errs, field.Required(at.Child(f.name), ""))
		}
	}
	return errs
}

// parentCell is "services/default/web".
func parentCell(ip *networkingv1.IPAddress) string {
	ref := ip.Spec.ParentRef
	if ref == nil {
		return none
	}
	parts := []string{strings.ToLower(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}.String())}
	if ref.Namespace != "" {
		parts = append(parts, ref.Namespace)
	}
	return strings.Join(append(parts, ref.Name), "/")
}
