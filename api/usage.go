package api

import metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

// What nodes and Pods use, for kubectl top: it is measured when somebody asks.
//
// Kubernetes: a server of its own, metrics-server, behind an APIService.
var (
	nodeUsage = define(Kind{
		Versions: []Version{asked[metricsv1beta1.NodeMetrics](metricsv1beta1.SchemeGroupVersion, "NodeMetrics")},
		Resource: "nodes",
		Measured: true,
	}, Rules[metricsv1beta1.NodeMetrics]{})

	podUsage = define(Kind{
		Versions:   []Version{asked[metricsv1beta1.PodMetrics](metricsv1beta1.SchemeGroupVersion, "PodMetrics")},
		Resource:   "pods",
		Namespaced: true,
		Measured:   true,
	}, Rules[metricsv1beta1.PodMetrics]{})
)
