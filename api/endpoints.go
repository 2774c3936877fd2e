package api

import (
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var endpoints = define(Kind{
	Versions:       []Version{version[corev1.Endpoints, corev1.EndpointsList](corev1.SchemeGroupVersion, "Endpoints")},
	Resource:       "endpoints",
	Singular:       "endpoints",
	ShortNames:     []string{"ep"},
	Namespaced:     true,
	CreateOnUpdate: true,
	ValidateName:   apivalidation.NameIsDNSSubdomain,
	Deprecated:     "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
	Columns: []Column{
		nameColumn(),
		column("Endpoints", doc(corev1.Endpoints{}, "subsets"), endpointsCell),
		ageColumn(),
	},
}, Rules[corev1.Endpoints]{
	Default:  defaultEndpoints,
	Validate: validateEndpoints,
	ValidateUpdate: func(e, old *corev1.Endpoints) field.ErrorList {
		if equality.Semantic.DeepEqual(e.Subsets, old.Subsets) {
			return nil // older servers may have found them valid
		}
		return validateEndpoints(e)
	},
})

func defaultEndpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			fill(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

// endpointsCell lists what is ready, each address once per port.
func endpointsCell(e *corev1.Endpoints) string {
	if len(e.Subsets) == 0 {
		return none
	}
	var list []string
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 { // a headless Service may have none
			for _, a := range s.Addresses {
				list = append(list, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				list = append(list, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return firstOf(list)
}

func validateEndpoints(e *corev1.Endpoints) field.ErrorList {
	var errs field.ErrorList
	for i := range e.Subsets {
		s, at := &e.Subsets[i], field.NewPath("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		errs = append(errs, validateEndpointAddresses(s.Addresses, at.Child("addresses"))...)
		errs = append(errs, validateEndpointAddresses(s.NotReadyAddresses, at.Child("notReadyAddresses"))...)
		errs = append(errs, validateEndpointPorts(s.Ports, at.Child("ports"))...)
	}
	return errs
}

func validateEndpointAddresses(addresses []corev1.EndpointAddress, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, a := range addresses {
		at := at.Index(i)
		errs = append(errs, ipAddress(a.IP, at.Child("ip"))...)
		errs = append(errs, endpointIP(a.IP, at.Child("ip"))...)
		if a.Hostname != "" {
			errs = append(errs, dnsLabel(a.Hostname, at.Child("hostname"))...)
		}
		if a.NodeName != nil {
			errs = append(errs, dnsSubdomain(*a.NodeName, at.Child("nodeName"))...)
		}
	}
	return errs
}

func validateEndpointPorts(ports []corev1.EndpointPort, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		at := at.Index(i)
		if p.Name != "" {
			errs = append(errs, dnsLabel(p.Name, at.Child("name"))...)
		} else if len(ports) > 1 {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		errs = append(errs, portNumber(p.Port, at.Child("port"))...)
		errs = append(errs, oneOf(p.Protocol, at.Child("protocol"), protocols...)...)
		if p.AppProtocol != nil {
			errs = append(errs, qualifiedName(*p.AppProtocol, at.Child("appProtocol"))...)
		}
	}
	return errs
}
