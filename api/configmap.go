package api

import corev1 "k8s.io/api/core/v1"

var configMaps = define(Kind{
	Versions:   []Version{version[corev1.ConfigMap, corev1.ConfigMapList](corev1.SchemeGroupVersion, "ConfigMap")},
	Resource:   "configmaps",
	Singular:   "configmap",
	ShortNames: []string{"cm"},
	Namespaced: true,
}, Rules[corev1.ConfigMap]{})
