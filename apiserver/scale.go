package apiserver

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/owners"
)

var scaleVersion = &api.Version{
	GroupVersionKind: autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
	New:              func() api.Object { return &autoscalingv1.Scale{} },
}

// scaleView shows an object as a Scale: how many replicas, and nothing else.
func scaleView(res *resource) view {
	return view{
		body:   scaleVersion,
		show:   func(o api.Object) api.Object { return scaleOf(res, o) },
		fields: owners.View{Kind: res.kind, Version: scaleVersion, Subresource: "scale"},
		take:   func(body api.Object) api.Object { return body },
		live: func(o api.Object) api.Object {
			s := scaleOf(res, o)
			s.ManagedFields, _ = scaleOwners(res, o).ToSubresource() // unreadable: nobody's
			return s
		},
		merge: func(body, old api.Object) api.Object {
			next := old.DeepCopyObject().(api.Object)
			res.kind.Scale.Set(next, body.(*autoscalingv1.Scale).Spec.Replicas)
			if noted, err := scaleOwners(res, old).ToParent(body.GetManagedFields()); err == nil {
				next.SetManagedFields(noted)
			}
			res.kind.PrepareForUpdate(next, old)
			return next
		},
		check: func(next, old api.Object) field.ErrorList {
			if n := res.kind.Scale.Get(next).Spec.Replicas; n < 0 {
				return field.ErrorList{field.Invalid(field.NewPath("spec", "replicas"), n, "must be greater than or equal to 0")}
			}
			return res.kind.CheckUpdate(next, old)
		},
	}
}

func scaleOf(res *resource, o api.Object) *autoscalingv1.Scale {
	s := res.kind.Scale.Get(o)
	s.ObjectMeta = metav1.ObjectMeta{
		Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
		ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp(),
	}
	return s
}

// scaleOwners translates between the owners of the object's replicas and the Scale's.
func scaleOwners(res *resource, o api.Object) *managedfields.ScaleHandler {
	replicas := managedfields.ResourcePathMappings{}
	for _, v := range res.kind.Versions {
		replicas[v.GroupVersion().String()] = fieldpath.MakePathOrDie("spec", "replicas")
	}
	return managedfields.NewScaleHandler(o.GetManagedFields(), res.version.GroupVersion(), replicas)
}
