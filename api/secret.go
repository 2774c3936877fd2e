package api

import corev1 "k8s.io/api/core/v1"

var secrets = define(Kind{
	Versions:   []Version{version[corev1.Secret, corev1.SecretList](corev1.SchemeGroupVersion, "Secret")},
	Resource:   "secrets",
	Singular:   "secret",
	Namespaced: true,
}, Rules[corev1.Secret]{})
