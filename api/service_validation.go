package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateService(s *corev1.Service) field.ErrorList {
	return validateServiceOver(s, &corev1.Service{})
}

// validateServiceOver checks s, whose addresses may stay as they were in old.
func validateServiceOver(s, old *corev1.Service) field.ErrorList {
	spec, at := &s.Spec, field.NewPath("spec")
	errs := validateTopologyMode(s)
	errs = append(errs, validateServiceType(s, at)...)
	errs = append(errs, validateServicePorts(s, at.Child("ports"))...)
	errs = append(errs, metavalidation.ValidateLabels(spec.Selector, at.Child("selector"))...)
	errs = append(errs, validateSessionAffinity(spec, at)...)
	errs = append(errs, ServiceAddressErrors(s, old)...)
	for i, ip := range spec.ExternalIPs {
		at := at.Child("externalIPs").Index(i)
		if wrong := ipAddress(ip, at, old.Spec.ExternalIPs...); len(wrong) > 0 {
			errs = append(errs, wrong...)
		} else {
			errs = append(errs, endpointIP(ip, at)...)
		}
	}
	errs = append(errs, oneOf(spec.Type, at.Child("type"), corev1.ServiceTypeClusterIP,
		corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)...)
	errs = append(errs, validateUniquePorts(s, at.Child("ports"))...)
	errs = append(errs, validateLoadBalancerFields(s, old, at)...)
	return append(errs, validateTrafficPolicies(s, at)...)
}

// validateTopologyMode: the annotation has an older name, and old manifests have both.
func validateTopologyMode(s *corev1.Service) field.ErrorList {
	mode, has := s.Annotations[corev1.AnnotationTopologyMode]
	hints, had := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if !has || !had || mode == hints {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations").Key(corev1.AnnotationTopologyMode), mode,
		fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints))}
}

// validateServiceType holds a Service to what its type allows.
func validateServiceType(s *corev1.Service, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	spec, headless := &s.Spec, ServiceIsHeadless(s)
	if len(spec.Ports) == 0 && !headless && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(at.Child("ports"), ""))
	}
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless {
			errs = append(errs, field.Invalid(at.Child("clusterIPs").Index(0), spec.ClusterIPs[0],
				fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
		}
	case corev1.ServiceTypeExternalName:
		const no = "may not be set for ExternalName services"
		if len(spec.ClusterIPs) > 0 {
			errs = append(errs, field.Forbidden(at.Child("clusterIPs"), no))
		}
		if len(spec.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(at.Child("ipFamilies"), no))
		}
		if spec.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(at.Child("ipFamilyPolicy"), no))
		}
		if cname := strings.TrimSuffix(spec.ExternalName, "."); cname == "" {
			errs = append(errs, field.Required(at.Child("externalName"), ""))
		} else {
			errs = append(errs, dnsSubdomain(cname, at.Child("externalName"))...)
		}
	}
	return errs
}

func validateServicePorts(s *corev1.Service, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, p := range s.Spec.Ports {
		at := at.Index(i)
		if p.Name != "" {
			errs = append(errs, dnsLabel(p.Name, at.Child("name"))...)
			errs = append(errs, unique(p.Name, names, at.Child("name"))...)
		} else if len(s.Spec.Ports) > 1 {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		errs = append(errs, portNumber(p.Port, at.Child("port"))...)
		errs = append(errs, oneOf(p.Protocol, at.Child("protocol"), protocols...)...)
		errs = append(errs, portNumberOrName(p.TargetPort, at.Child("targetPort"))...)
		if p.AppProtocol != nil {
			errs = append(errs, qualifiedName(*p.AppProtocol, at.Child("appProtocol"))...)
		}
	}
	return errs
}

// portKey is what of a port must be unique, with the fields that upstream shows.
type portKey struct {
	Name        string
	Protocol    corev1.Protocol
	AppProtocol *string
	Port        int32
	TargetPort  int
	NodePort    int32
}

func validateUniquePorts(s *corev1.Service, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	nodePorts, ports := sets.New[portKey](), sets.New[portKey]()
	for i, p := range s.Spec.Ports {
		at, key := at.Index(i).Child("nodePort"), portKey{Protocol: p.Protocol, NodePort: p.NodePort}
		switch {
		case p.NodePort == 0:
			continue
		case s.Spec.Type == corev1.ServiceTypeClusterIP:
			errs = append(errs, field.Forbidden(at, "may not be used when `type` is 'ClusterIP'"))
		}
		if nodePorts.Has(key) {
			errs = append(errs, field.Duplicate(at, p.NodePort))
		}
		nodePorts.Insert(key)
	}
	for i, p := range s.Spec.Ports {
		errs = append(errs, unique(portKey{Protocol: p.Protocol, Port: p.Port}, ports, at.Index(i))...)
	}
	return errs
}

func validateSessionAffinity(spec *corev1.ServiceSpec, at *field.Path) field.ErrorList {
	errs := oneOf(spec.SessionAffinity, at.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	at, config := at.Child("sessionAffinityConfig"), spec.SessionAffinityConfig
	if spec.SessionAffinity == corev1.ServiceAffinityNone && config != nil {
		return append(errs, field.Forbidden(at, "must not be set when session affinity is None"))
	}
	if spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return errs
	}
	if config == nil || config.ClientIP == nil || config.ClientIP.TimeoutSeconds == nil {
		return append(errs, field.Required(at, "when session affinity type is ClientIP"))
	}
	const day = 86400
	if t := *config.ClientIP.TimeoutSeconds; t <= 0 || t > day {
		errs = append(errs, field.Invalid(at.Child("clientIP").Child("timeoutSeconds"), t,
			fmt.Sprintf("must be greater than 0 and less than %d", day)))
	}
	return errs
}

// ServiceAddressErrors checks clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy
// against each other. Empty ones pass, as upstream: giving them is allocation's duty,
// which asks here, too, so that it need not think of nonsense.
func ServiceAddressErrors(s, old *corev1.Service) field.ErrorList {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	spec, at := &s.Spec, field.NewPath("spec")
	ipsAt := at.Child("clusterIPs")
	var errs field.ErrorList
	switch {
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(ipsAt, spec.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		errs = append(errs, field.Required(ipsAt, ""))
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		errs = append(errs, field.Invalid(ipsAt, spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	seen := sets.New[corev1.IPFamily]()
	for i, f := range spec.IPFamilies {
		errs = append(errs, supported(f, at.Child("ipFamilies").Index(i), corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		errs = append(errs, unique(f, seen, at.Child("ipFamilies").Index(i))...)
	}
	if p := spec.IPFamilyPolicy; p != nil {
		errs = append(errs, supported(*p, at.Child("ipFamilyPolicy"), corev1.IPFamilyPolicyPreferDualStack,
			corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)...)
	}
	wrong := validateAddresses(spec.ClusterIPs, old.Spec.ClusterIPs, ipsAt)
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(ipsAt, spec.ClusterIPs, "may only hold up to 2 values"))
	}
	if errs = append(errs, wrong...); len(wrong) > 0 || ServiceIsHeadless(s) {
		return errs
	}
	return append(errs, validateAddressFamilies(spec, ipsAt)...)
}

func validateAddresses(ips, before []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range ips {
		if i > 0 || ip != corev1.ClusterIPNone {
			errs = append(errs, ipAddress(ip, at.Index(i), before...)...)
		} else if len(ips) > 1 {
			errs = append(errs, field.Invalid(at, ips, "'None' must be the first and only value"))
		}
	}
	return errs
}

func validateAddressFamilies(spec *corev1.ServiceSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	count := map[corev1.IPFamily]int{}
	for _, ip := range spec.ClusterIPs {
		count[familyOf(ip)]++
	}
	if len(spec.ClusterIPs) > 1 && (len(count) != 2 || len(spec.ClusterIPs) != 2) {
		errs = append(errs, field.Invalid(at, spec.ClusterIPs, "may specify no more than one IP for each IP family"))
	}
	for i, ip := range spec.ClusterIPs {
		named := i < len(spec.IPFamilies) && (spec.IPFamilies[i] == corev1.IPv4Protocol || spec.IPFamilies[i] == corev1.IPv6Protocol)
		if named && spec.IPFamilies[i] != familyOf(ip) {
			errs = append(errs, field.Invalid(at.Index(i), ip,
				fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", spec.IPFamilies[i], i)))
		}
	}
	return errs
}

func validateServiceStatus(s, old *corev1.Service) field.ErrorList {
	at := field.NewPath("status", "loadBalancer", "ingress")
	ingress := s.Status.LoadBalancer.Ingress
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer && len(ingress) > 0 {
		return field.ErrorList{field.Forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	var errs field.ErrorList
	var before []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		before = append(before, in.IP)
	}
	for i, in := range ingress {
		at := at.Index(i)
		if in.IP != "" {
			errs = append(errs, ipAddress(in.IP, at.Child("ip"), before...)...)
		}
		switch mode := at.Child("ipMode"); {
		case in.IPMode == nil && in.IP != "":
			errs = append(errs, field.Required(mode, "must be specified when `ip` is set"))
		case in.IPMode != nil && in.IP == "":
			errs = append(errs, field.Forbidden(mode, "may not be specified when `ip` is not set"))
		case in.IPMode != nil:
			errs = append(errs, oneOf(*in.IPMode, mode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)...)
		}
		if in.Hostname == "" {
			continue
		}
		errs = append(errs, dnsSubdomain(in.Hostname, at.Child("hostname"))...)
		errs = append(errs, notAnAddress(in.Hostname, at.Child("hostname"))...)
	}
	return errs
}
