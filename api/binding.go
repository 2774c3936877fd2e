package api

import corev1 "k8s.io/api/core/v1"

// bindings give Pods to nodes. They are never stored; the same can be sent to a Pod's
// subresource "binding", which is what schedulers do today.
var bindings = define(Kind{
	Versions:   []Version{asked[corev1.Binding](corev1.SchemeGroupVersion, "Binding")},
	Resource:   "bindings",
	Singular:   "binding",
	Namespaced: true,
}, Rules[corev1.Binding]{})
