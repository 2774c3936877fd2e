package api

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
)

var serviceAccounts = define(Kind{
	Versions:     []Version{version[corev1.ServiceAccount, corev1.ServiceAccountList](corev1.SchemeGroupVersion, "ServiceAccount")},
	Resource:     "serviceaccounts",
	Singular:     "serviceaccount",
	ShortNames:   []string{"sa"},
	Namespaced:   true,
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Subresources: []Subresource{
		{Name: "token", GVK: authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), Verbs: []string{"create"}},
	},
	Columns: []Column{
		nameColumn(),
		ageColumn(),
	},
}, Rules[corev1.ServiceAccount]{})
