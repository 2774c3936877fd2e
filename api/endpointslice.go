package api

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of an EndpointSlice; controllers stay far below (100 endpoints).
const (
	maxSliceEndpoints = 1000
	maxSliceAddresses = 100
	maxSlicePorts     = 20000
	maxHints          = 8
	maxTopology       = 16
)

var endpointSlices = define(Kind{
	Versions: []Version{version[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](
		discoveryv1.SchemeGroupVersion, "EndpointSlice")},
	Resource:     "endpointslices",
	Singular:     "endpointslice",
	Namespaced:   true,
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("AddressType", doc(discoveryv1.EndpointSlice{}, "addressType"),
			func(s *discoveryv1.EndpointSlice) any { return string(s.AddressType) }),
		column("Ports", doc(discoveryv1.EndpointSlice{}, "ports"), slicePortsCell),
		column("Endpoints", doc(discoveryv1.EndpointSlice{}, "endpoints"), sliceEndpointsCell),
		ageColumn(),
	},
}, Rules[discoveryv1.EndpointSlice]{
	Default:       defaultEndpointSlice,
	PrepareCreate: prepareEndpointSlice,
	PrepareUpdate: prepareEndpointSliceUpdate,
	Validate:      func(s *discoveryv1.EndpointSlice) field.ErrorList { return validateEndpointSlice(s, nil) },
	ValidateUpdate: func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
		return append(validateEndpointSlice(s, old), immutable(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
	},
})

func prepareEndpointSlice(s *discoveryv1.EndpointSlice) {
	s.Generation = 1
	dropTopology(s)
}

func prepareEndpointSliceUpdate(s, old *discoveryv1.EndpointSlice) {
	countSliceGeneration(s, old)
	if !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
		dropTopology(s)
	}
}

// dropTopology: the field is of v1beta1, and only shown in v1.
func dropTopology(s *discoveryv1.EndpointSlice) {
	for i := range s.Endpoints {
		s.Endpoints[i].DeprecatedTopology = nil
	}
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	nothing(&s.Endpoints)
	nothing(&s.Ports)
	for i := range s.Ports {
		set(&s.Ports[i].Name, "")
		set(&s.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}

// countSliceGeneration: a slice has no spec; all of it counts, and the labels too,
// for one of them names the Service.
func countSliceGeneration(s, old *discoveryv1.EndpointSlice) {
	now, was := *s, *old
	now.ObjectMeta, was.ObjectMeta = metav1.ObjectMeta{Labels: s.Labels}, metav1.ObjectMeta{Labels: old.Labels}
	now.TypeMeta, was.TypeMeta = metav1.TypeMeta{}, metav1.TypeMeta{}
	if !equality.Semantic.DeepEqual(now, was) {
		s.Generation = old.Generation + 1
	}
}

func slicePortsCell(s *discoveryv1.EndpointSlice) string {
	var list []string
	for _, p := range s.Ports {
		switch {
		case p.Port != nil:
			list = append(list, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			list = append(list, *p.Name)
		default:
			list = append(list, "*")
		}
	}
	return orUnset(firstOf(list))
}

func sliceEndpointsCell(s *discoveryv1.EndpointSlice) string {
	var list []string
	for _, e := range s.Endpoints {
		list = append(list, e.Addresses...)
	}
	return orUnset(firstOf(list))
}

func orUnset(s string) string {
	if s == "" {
		return "<unset>"
	}
	return s
}

// validateEndpointSlice leaves endpoints alone that are as they were: older servers may
// have found them valid.
func validateEndpointSlice(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := oneOf(s.AddressType, field.NewPath("addressType"),
		discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	at := field.NewPath("endpoints")
	switch {
	case old != nil && equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints):
	case len(s.Endpoints) > maxSliceEndpoints:
		errs = append(errs, field.TooMany(at, len(s.Endpoints), maxSliceEndpoints))
	default:
		for i := range s.Endpoints {
			errs = append(errs, validateSliceEndpoint(&s.Endpoints[i], s.AddressType, at.Index(i))...)
		}
	}
	return append(errs, validateSlicePorts(s.Ports, field.NewPath("ports"))...)
}

func validateSliceEndpoint(e *discoveryv1.Endpoint, kind discoveryv1.AddressType, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	addresses := at.Child("addresses")
	if len(e.Addresses) == 0 {
		errs = append(errs, field.Required(addresses, ""))
	} else if len(e.Addresses) > maxSliceAddresses {
		errs = append(errs, field.TooMany(addresses, len(e.Addresses), maxSliceAddresses))
	}
	for i, a := range e.Addresses {
		errs = append(errs, validateSliceAddress(a, kind, addresses.Index(i))...)
	}
	if e.NodeName != nil {
		errs = append(errs, dnsSubdomain(*e.NodeName, at.Child("nodeName"))...)
	}
	if e.Hostname != nil {
		errs = append(errs, dnsLabel(*e.Hostname, at.Child("hostname"))...)
	}
	topology := at.Child("deprecatedTopology")
	if len(e.DeprecatedTopology) > maxTopology {
		errs = append(errs, field.TooMany(topology, len(e.DeprecatedTopology), maxTopology))
	}
	errs = append(errs, metavalidation.ValidateLabels(e.DeprecatedTopology, topology)...)
	if e.Hints != nil {
		errs = append(errs, validateHints(e.Hints, at.Child("hints"))...)
	}
	return errs
}

func validateSliceAddress(a string, kind discoveryv1.AddressType, at *field.Path) field.ErrorList {
	switch kind {
	case discoveryv1.AddressTypeFQDN:
		return validation.IsFullyQualifiedDomainName(at, a)
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
		if errs := ipAddress(a, at); len(errs) > 0 {
			return errs
		}
		if string(familyOf(a)) != string(kind) {
			return field.ErrorList{field.Invalid(at, a, "must be an "+string(kind)+" address")}
		}
		return endpointIP(a, at)
	}
	return nil
}

func validateHints(h *discoveryv1.EndpointHints, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(names []string, at *field.Path, valid func(string) []string) {
		if len(names) > maxHints {
			errs = append(errs, field.TooMany(at, len(names), maxHints))
			return
		}
		seen := sets.New[string]()
		for i, name := range names {
			at := at.Index(i).Child("name")
			errs = append(errs, unique(name, seen, at)...)
			errs = append(errs, invalid(at, name, valid(name))...)
		}
	}
	var zones, nodes []string
	for _, z := range h.ForZones {
		zones = append(zones, z.Name)
	}
	for _, n := range h.ForNodes {
		nodes = append(nodes, n.Name)
	}
	check(zones, at.Child("forZones"), validation.IsValidLabelValue)
	check(nodes, at.Child("forNodes"), validation.IsDNS1123Subdomain)
	return errs
}

func validateSlicePorts(ports []discoveryv1.EndpointPort, at *field.Path) field.ErrorList {
	if len(ports) > maxSlicePorts {
		return field.ErrorList{field.TooMany(at, len(ports), maxSlicePorts)}
	}
	var errs field.ErrorList
	names := sets.New[string]()
	for i, p := range ports {
		at := at.Index(i)
		if *p.Name != "" {
			errs = append(errs, dnsLabel(*p.Name, at.Child("name"))...)
		}
		errs = append(errs, unique(*p.Name, names, at.Child("name"))...)
		errs = append(errs, supported(*p.Protocol, at.Child("protocol"), protocols...)...)
		if p.AppProtocol != nil {
			errs = append(errs, qualifiedName(*p.AppProtocol, at.Child("appProtocol"))...)
		}
	}
	return errs
}
