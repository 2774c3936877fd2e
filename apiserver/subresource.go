package apiserver

import (
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
)

// subresource sets the call's view and returns what can be done through it, false if
// the kind has no such subresource. The table of kinds says which has status and
// scale; the rest is a line here and the kind's row in api/.
func (h *handlers) subresource(c *call) (map[string]verb, bool) {
	resource := c.version.GroupVersion().WithResource(c.kind.Resource)
	core := resource.Group == "" && resource.Version == "v1"
	part := partOf(c.kind, c.subresource)
	switch {
	case part != nil:
		c.view = partView(c.resource, c.subresource, part)
		return viewVerbs, true
	case c.subresource == "status" && c.kind.Status != nil:
		c.view = statusView(c.resource)
		return viewVerbs, true
	case c.subresource == "scale" && c.kind.Scale != nil:
		c.view = scaleView(c.resource)
		return viewVerbs, true
	case core && c.kind.Resource == "namespaces" && c.subresource == "finalize":
		c.view = finalizeView(c.resource)
		return map[string]verb{"update": (*handlers).update}, true
	case core && c.kind.Resource == "pods" && c.subresource == "binding":
		return map[string]verb{"create": (*handlers).bind}, true
	case core && c.kind.Resource == "pods" && c.subresource == "ephemeralcontainers":
		c.view = ephemeralView(c.resource)
		return viewVerbs, true
	case core && c.kind.Resource == "pods" && c.subresource == "eviction":
		return map[string]verb{"create": (*handlers).evict}, true
	case core && c.kind.Resource == "pods" && c.subresource == "log":
		return map[string]verb{"get": (*handlers).logs}, true
	case core && c.kind.Resource == "serviceaccounts" && c.subresource == "token":
		return map[string]verb{"create": (*handlers).token}, true
	case core && connects(c.kind.Resource, c.subresource):
		return map[string]verb{"get": (*handlers).connect, "create": (*handlers).connect}, true
	case core && c.subresource == "proxy" && c.kind.HasSubresource("proxy"):
		return proxyVerbs, true
	}
	return nil, false
}

// statusView shows the whole object; writing through it changes the status only.
func statusView(res *resource) view {
	v := wholeView(res, "status")
	v.merge = func(next, _ api.Object) api.Object { return next }
	v.check = res.kind.BeforeStatusUpdate
	return v
}

// partOf is the part of the object that the subresource writes, nil if it is none such.
func partOf(k *api.Kind, subresource string) *api.Part {
	for _, s := range k.Subresources {
		if s.Name == subresource {
			return s.Part
		}
	}
	return nil
}

// partView is a statusView for another part of the object.
func partView(res *resource, subresource string, part *api.Part) view {
	v := wholeView(res, subresource)
	v.merge = func(next, _ api.Object) api.Object { return next }
	v.check = func(next, old api.Object) field.ErrorList { return res.kind.BeforePartUpdate(part, next, old) }
	return v
}

var bindingVersion = &api.Version{
	GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Binding"),
	New:              func() api.Object { return &corev1.Binding{} },
}

// bind gives a Pod to a node: what a scheduler does in the end.
func (h *handlers) bind(c *call) error {
	o, err := c.createOptions()
	if err != nil {
		return err
	}
	body, err := c.decodeBody(bindingVersion, o.fieldValidation)
	if err != nil {
		return err
	}
	binding := body.(*corev1.Binding)
	if errs := checkBinding(binding); len(errs) > 0 {
		return errs.ToAggregate() // not an Invalid but a 500, as upstream
	}
	switch {
	case c.name == "": // POST …/bindings, the older path: the Pod is the one that the Binding names
		c.name, c.resource = binding.Name, h.core("pods")
	case c.name != binding.Name:
		return apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	c.view = view{
		merge: func(body, _ api.Object) api.Object { return body },
		check: func(api.Object, api.Object) field.ErrorList { return nil },
	}
	_, err = h.modify(c, o.dryRun, func(old api.Object) (api.Object, error) {
		return bound(old.(*corev1.Pod), binding)
	})
	if err != nil {
		return err
	}
	return c.respondObject(http.StatusCreated, &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, statusGVK)
}

func checkBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	if kind := b.Target.Kind; kind != "" && kind != "Node" {
		errs = append(errs, field.NotSupported(field.NewPath("target", "kind"), kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(field.NewPath("target", "name"), ""))
	}
	return errs
}

// bound is the Pod on its node.
func bound(old *corev1.Pod, b *corev1.Binding) (api.Object, error) {
	conflict := func(format string, args ...any) error {
		return apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, old.Name, fmt.Errorf(format, args...))
	}
	switch {
	case old.DeletionTimestamp != nil:
		return nil, conflict("pod %s is being deleted, cannot be assigned to a host", old.Name)
	case old.Spec.NodeName != "":
		return nil, conflict("pod %v is already assigned to node %q", old.Name, old.Spec.NodeName)
	case len(old.Spec.SchedulingGates) > 0:
		return nil, conflict("pod %v has non-empty .spec.schedulingGates", old.Name)
	}
	pod := old.DeepCopy()
	if b.ResourceVersion != "" { // preconditions; what isn't set stays as it is
		pod.ResourceVersion = b.ResourceVersion
	}
	if b.UID != "" {
		pod.UID = b.UID
	}
	pod.Spec.NodeName = b.Target.Name
	for k, v := range b.Annotations {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, k, v)
	}
	setScheduled(&pod.Status)
	return pod, nil
}

func setScheduled(s *corev1.PodStatus) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	s.Conditions = append(s.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
	})
}
