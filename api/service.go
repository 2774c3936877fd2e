package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var services = define(Kind{
	Versions:       []Version{version[corev1.Service, corev1.ServiceList](corev1.SchemeGroupVersion, "Service")},
	Resource:       "services",
	Singular:       "service",
	ShortNames:     []string{"svc"},
	Categories:     []string{"all"},
	Namespaced:     true,
	Subresources:   []Subresource{proxySubresource("ServiceProxyOptions")},
	CreateOnUpdate: true,
	ValidateName:   apivalidation.NameIsDNSLabel, // since v1.36; older servers forbid a digit in front
	Columns: []Column{
		nameColumn(),
		column("Type", doc(corev1.ServiceSpec{}, "type"), func(s *corev1.Service) any { return string(s.Spec.Type) }),
		column("Cluster-IP", doc(corev1.ServiceSpec{}, "clusterIP"), clusterIPCell),
		column("External-IP", doc(corev1.ServiceSpec{}, "externalIPs"), externalIPCell),
		column("Port(s)", doc(corev1.ServiceSpec{}, "ports"), func(s *corev1.Service) any { return portsCell(s.Spec.Ports) }),
		ageColumn(),
		column("Selector", doc(corev1.ServiceSpec{}, "selector"),
			func(s *corev1.Service) any { return labels.FormatLabels(s.Spec.Selector) }).wide(),
	},
}, Rules[corev1.Service]{
	Status:         func(s *corev1.Service) any { return &s.Status },
	Default:        defaultService,
	PrepareCreate:  func(s *corev1.Service) { syncClusterIPs(s, nil) },
	PrepareUpdate:  prepareServiceUpdate,
	Validate:       validateService,
	ValidateUpdate: validateServiceUpdate,
	ValidateStatus: validateServiceStatus,
	Warnings:       serviceWarnings,
	StatusWarnings: func(s *corev1.Service) []string {
		var w []string
		for i, in := range s.Status.LoadBalancer.Ingress {
			w = append(w, ipWarnings(in.IP, field.NewPath("status", "loadBalancer", "ingress").Index(i))...)
		}
		return w
	},
	Fields: func(s *corev1.Service) fields.Set {
		return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
	},
})

func clusterIPCell(s *corev1.Service) string {
	if len(s.Spec.ClusterIPs) == 0 {
		return none
	}
	return s.Spec.ClusterIPs[0]
}

func externalIPCell(s *corev1.Service) string {
	ips := s.Spec.ExternalIPs
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		if ips = append(ingressAddresses(s), ips...); len(ips) == 0 {
			return "<pending>"
		}
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
	default:
		return "<unknown>"
	}
	return orNone(strings.Join(ips, ","))
}

func ingressAddresses(s *corev1.Service) []string {
	addresses := sets.New[string]()
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			addresses.Insert(in.IP)
		} else if in.Hostname != "" {
			addresses.Insert(in.Hostname)
		}
	}
	return sets.List(addresses)
}

func portsCell(ports []corev1.ServicePort) string {
	var cells []string
	for _, p := range ports {
		if p.NodePort > 0 {
			cells = append(cells, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			cells = append(cells, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return orNone(strings.Join(cells, ","))
}

// serviceWarnings are about fields that do nothing or will go.
func serviceWarnings(s, _ *corev1.Service) []string {
	var w []string
	spec := field.NewPath("spec")
	if _, ok := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		w = append(w, fmt.Sprintf("annotation %s is deprecated, please use %s instead",
			corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode))
	}
	for i, ip := range s.Spec.ClusterIPs {
		w = append(w, ipWarnings(ip, spec.Child("clusterIPs").Index(i))...)
	}
	headless := s.Spec.Type == corev1.ServiceTypeClusterIP && s.Spec.ClusterIP == corev1.ClusterIPNone
	if headless {
		if s.Spec.LoadBalancerIP != "" {
			w = append(w, "spec.loadBalancerIP is ignored for headless services")
		}
		if len(s.Spec.ExternalIPs) > 0 {
			w = append(w, "spec.externalIPs is ignored for headless services")
		}
		if s.Spec.SessionAffinity != corev1.ServiceAffinityNone {
			w = append(w, "spec.SessionAffinity is ignored for headless services")
		}
	}
	for i, ip := range s.Spec.ExternalIPs {
		w = append(w, ipWarnings(ip, spec.Child("externalIPs").Index(i))...)
	}
	if len(s.Spec.ExternalIPs) > 0 && !headless && s.Spec.Type != corev1.ServiceTypeExternalName {
		w = append(w, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	w = append(w, ipWarnings(s.Spec.LoadBalancerIP, spec.Child("loadBalancerIP"))...)
	for i, cidr := range s.Spec.LoadBalancerSourceRanges {
		w = append(w, cidrWarnings(cidr, spec.Child("loadBalancerSourceRanges").Index(i))...)
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName && len(s.Spec.ExternalIPs) > 0 {
		w = append(w, `spec.externalIPs is ignored when spec.type is "ExternalName"`)
	}
	if s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ExternalName != "" {
		w = append(w, `spec.externalName is ignored when spec.type is not "ExternalName"`)
	}
	if t := s.Spec.TrafficDistribution; t != nil && *t == corev1.ServiceTrafficDistributionPreferClose {
		w = append(w, fmt.Sprintf("spec.trafficDistribution: %q is deprecated; use %q",
			corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone))
	}
	return w
}
