package api

import corev1 "k8s.io/api/core/v1"

var serviceAccounts = define(Kind{
	Versions:   []Version{version[corev1.ServiceAccount, corev1.ServiceAccountList](corev1.SchemeGroupVersion, "ServiceAccount")},
	Resource:   "serviceaccounts",
	Singular:   "serviceaccount",
	ShortNames: []string{"sa"},
	Namespaced: true,
}, Rules[corev1.ServiceAccount]{})
