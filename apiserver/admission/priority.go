package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

var priorityClasses = schedulingv1.Resource("priorityclasses")

// priority turns a new Pod's priority class into numbers that schedulers compare. A Pod
// that names none gets the default class, if there is one.
func priority(ctx context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	switch {
	case !ok || a.Subresource != "":
		return nil
	case a.Operation == Update: // who sends the Pod as he once wrote it changes nothing
		old := a.Old.(*corev1.Pod)
		keep(&pod.Spec.Priority, old.Spec.Priority)
		keep(&pod.Spec.PreemptionPolicy, old.Spec.PreemptionPolicy)
		return nil
	case a.Operation != Create:
		return nil
	}
	class, err := priorityClass(ctx, a, pod.Spec.PriorityClassName)
	if err != nil {
		return err
	}
	pod.Spec.PriorityClassName = class.Name
	if p := pod.Spec.Priority; p != nil && *p != class.Value {
		return forbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; "+
			"priority admission controller computed %d from the given PriorityClass name", *p, class.Value))
	}
	pod.Spec.Priority = &class.Value
	if class.PreemptionPolicy == nil {
		return nil
	}
	if p := pod.Spec.PreemptionPolicy; p != nil && *p != *class.PreemptionPolicy {
		return forbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; "+
			"priority admission controller computed %s from the given PriorityClass name", *p, *class.PreemptionPolicy))
	}
	pod.Spec.PreemptionPolicy = class.PreemptionPolicy
	return nil
}

// keep carries an old value over where the client sent none.
func keep[T any](field **T, old *T) {
	if *field == nil {
		*field = old
	}
}

// priorityClass is a copy of the class of that name, of the default one, or of none.
func priorityClass(ctx context.Context, a *Attributes, name string) (*schedulingv1.PriorityClass, error) {
	if name == "" {
		class, err := defaultPriority(ctx, a)
		if err != nil || class != nil {
			return class.DeepCopy(), err
		}
		return &schedulingv1.PriorityClass{PreemptionPolicy: new(corev1.PreemptLowerPriority)}, nil
	}
	o, err := a.Cluster.Get(ctx, priorityClasses, "", name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, forbidden(a, fmt.Errorf("no PriorityClass with name %v was found", name))
	case err != nil:
		return nil, fmt.Errorf("failed to resolve PriorityClass with name %s: %w", name, err)
	}
	return o.(*schedulingv1.PriorityClass).DeepCopy(), nil
}

// defaultPriority is the class for Pods that name none, or nil. Two can only have come
// about at the same moment; the lower one counts.
func defaultPriority(ctx context.Context, a *Attributes) (*schedulingv1.PriorityClass, error) {
	all, err := a.Cluster.List(ctx, priorityClasses, "")
	if err != nil {
		return nil, fmt.Errorf("error occurred while retrieving default priority class: %w", err)
	}
	var found *schedulingv1.PriorityClass
	for _, o := range all {
		class := o.(*schedulingv1.PriorityClass)
		if class.GlobalDefault && (found == nil || class.Value < found.Value) {
			found = class
		}
	}
	return found, nil
}

// oneDefaultPriority refuses a second default class.
func oneDefaultPriority(ctx context.Context, a *Attributes) error {
	class, ok := a.Object.(*schedulingv1.PriorityClass)
	if !ok || !class.GlobalDefault || a.Operation != Create && a.Operation != Update {
		return nil
	}
	other, err := defaultPriority(ctx, a)
	if err != nil || other == nil || a.Operation == Update && other.Name == class.Name {
		return err
	}
	return forbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
}
