package api

import corev1 "k8s.io/api/core/v1"

var nodes = define(Kind{
	Versions:   []Version{version[corev1.Node, corev1.NodeList](corev1.SchemeGroupVersion, "Node")},
	Resource:   "nodes",
	Singular:   "node",
	ShortNames: []string{"no"},
}, Rules[corev1.Node]{
	Status: func(n *corev1.Node) any { return &n.Status },
})
