package api

import corev1 "k8s.io/api/core/v1"

var endpoints = define(Kind{
	Versions:   []Version{version[corev1.Endpoints, corev1.EndpointsList](corev1.SchemeGroupVersion, "Endpoints")},
	Resource:   "endpoints",
	Singular:   "endpoints",
	ShortNames: []string{"ep"},
	Namespaced: true,
}, Rules[corev1.Endpoints]{})
