package api

import corev1 "k8s.io/api/core/v1"

var pods = define(Kind{
	Versions:   []Version{version[corev1.Pod, corev1.PodList](corev1.SchemeGroupVersion, "Pod")},
	Resource:   "pods",
	Singular:   "pod",
	ShortNames: []string{"po"},
	Categories: []string{"all"},
	Namespaced: true,
	Subresources: []Subresource{
		{Name: "attach", GVK: corev1.SchemeGroupVersion.WithKind("PodAttachOptions"), Verbs: []string{"create", "get"}},
		{Name: "binding", GVK: corev1.SchemeGroupVersion.WithKind("Binding"), Verbs: []string{"create"}},
		{Name: "exec", GVK: corev1.SchemeGroupVersion.WithKind("PodExecOptions"), Verbs: []string{"create", "get"}},
		{Name: "log", Verbs: []string{"get"}},
		{Name: "portforward", GVK: corev1.SchemeGroupVersion.WithKind("PodPortForwardOptions"), Verbs: []string{"create", "get"}},
	},
}, Rules[corev1.Pod]{
	Spec:   func(p *corev1.Pod) any { return &p.Spec },
	Status: func(p *corev1.Pod) any { return &p.Status },
})
