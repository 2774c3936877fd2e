package api

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
)

var deployments = define(Kind{
	Versions:   []Version{version[appsv1.Deployment, appsv1.DeploymentList](appsv1.SchemeGroupVersion, "Deployment")},
	Resource:   "deployments",
	Singular:   "deployment",
	ShortNames: []string{"deploy"},
	Categories: []string{"all"},
	Namespaced: true,
	Scale: &Scale{
		Get: func(o Object) *autoscalingv1.Scale {
			d := o.(*appsv1.Deployment)
			return scaleOf(d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector)
		},
		Set: func(o Object, n int32) { o.(*appsv1.Deployment).Spec.Replicas = &n },
	},
}, Rules[appsv1.Deployment]{
	Spec:   func(d *appsv1.Deployment) any { return &d.Spec },
	Status: func(d *appsv1.Deployment) any { return &d.Status },
})
