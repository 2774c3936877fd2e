package api

import corev1 "k8s.io/api/core/v1"

var namespaces = define(Kind{
	Versions:   []Version{version[corev1.Namespace, corev1.NamespaceList](corev1.SchemeGroupVersion, "Namespace")},
	Resource:   "namespaces",
	Singular:   "namespace",
	ShortNames: []string{"ns"},
	Subresources: []Subresource{
		{Name: "finalize", Verbs: []string{"update"}},
	},
}, Rules[corev1.Namespace]{
	Spec:   func(n *corev1.Namespace) any { return &n.Spec },
	Status: func(n *corev1.Namespace) any { return &n.Status },
})
