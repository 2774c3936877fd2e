package api

import corev1 "k8s.io/api/core/v1"

var services = define(Kind{
	Versions:   []Version{version[corev1.Service, corev1.ServiceList](corev1.SchemeGroupVersion, "Service")},
	Resource:   "services",
	Singular:   "service",
	ShortNames: []string{"svc"},
	Categories: []string{"all"},
	Namespaced: true,
}, Rules[corev1.Service]{
	Status: func(s *corev1.Service) any { return &s.Status },
})
