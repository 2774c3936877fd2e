package api

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
)

var replicaSets = define(Kind{
	Versions:   []Version{version[appsv1.ReplicaSet, appsv1.ReplicaSetList](appsv1.SchemeGroupVersion, "ReplicaSet")},
	Resource:   "replicasets",
	Singular:   "replicaset",
	ShortNames: []string{"rs"},
	Categories: []string{"all"},
	Namespaced: true,
	Scale: &Scale{
		Get: func(o Object) *autoscalingv1.Scale {
			rs := o.(*appsv1.ReplicaSet)
			return scaleOf(rs.Spec.Replicas, rs.Status.Replicas, rs.Spec.Selector)
		},
		Set: func(o Object, n int32) { o.(*appsv1.ReplicaSet).Spec.Replicas = &n },
	},
}, Rules[appsv1.ReplicaSet]{
	Spec:   func(rs *appsv1.ReplicaSet) any { return &rs.Spec },
	Status: func(rs *appsv1.ReplicaSet) any { return &rs.Status },
})
