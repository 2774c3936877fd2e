package apiserver

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

// succession says what becomes of old when somebody asks for its deletion: the object
// it lives on as, old itself if nothing changes, or nil if it goes now.
//
// An object lives on for one of three reasons. Its agent needs time (a Pod's grace
// period): deletionTimestamp says until when, and the agent confirms by deleting with
// grace 0. It has finalizers: whoever put one there has something to do first, and
// removes it then. It is a Namespace with content.
func succession(k *api.Kind, old api.Object, o *metav1.DeleteOptions, now time.Time) (api.Object, error) {
	if err := preconditions(k, old, o.Preconditions); err != nil {
		return nil, err
	}
	next := old.DeepCopyObject().(api.Object)
	waiting, changed := grace(k, next, o.GracePeriodSeconds, now)
	if waiting && !changed {
		return old, nil // it is being deleted already, and not faster by this request
	}
	propagate(next, o)
	switch {
	case waiting:
		return next, nil
	case held(next):
		markDeleted(next, now)
		return next, nil
	}
	return nil, nil
}

func preconditions(k *api.Kind, old api.Object, p *metav1.Preconditions) error {
	gvk := k.Storage().GroupVersionKind
	gr := schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind} // upstream's words: of the kind
	switch {
	case p == nil:
		return nil
	case p.UID != nil && *p.UID != old.GetUID():
		return apierrors.NewConflict(gr, old.GetName(), fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, old.GetUID()))
	case p.ResourceVersion != nil && *p.ResourceVersion != old.GetResourceVersion():
		return apierrors.NewConflict(gr, old.GetName(), fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, old.GetResourceVersion()))
	}
	return nil
}

// grace starts the wait for the object's agent, or shortens it. waiting says that the
// object must stay for the agent, changed that this request had any effect on that.
func grace(k *api.Kind, o api.Object, asked *int64, now time.Time) (waiting, changed bool) {
	if asked != nil && *asked < 0 {
		asked = new(int64(1)) // upstream reads "now" as "in a second"
	}
	if k.GracePeriod == nil {
		return false, false
	}
	if since := o.GetDeletionTimestamp(); since != nil {
		left := o.GetDeletionGracePeriodSeconds()
		switch {
		case left == nil || *left == 0:
			return false, false
		case asked == nil || *asked >= *left:
			return true, false
		}
		start := since.Add(-time.Duration(*left) * time.Second)
		setDeletion(o, start, *asked)
		return *asked > 0, true
	}
	period := k.GracePeriod(o, asked)
	if period == 0 {
		return false, false
	}
	setDeletion(o, now, period)
	bump(o)
	return true, true
}

func setDeletion(o api.Object, start time.Time, seconds int64) {
	until := metav1.NewTime(start.Add(time.Duration(seconds) * time.Second).Truncate(time.Second))
	o.SetDeletionTimestamp(&until)
	o.SetDeletionGracePeriodSeconds(&seconds)
}

// bump counts the deletion as a change of what is wanted.
func bump(o api.Object) {
	if g := o.GetGeneration(); g > 0 {
		o.SetGeneration(g + 1)
	}
}

// propagate notes for the garbage collector what shall become of the object's
// dependents: left alone (orphan), or deleted before it (foregroundDeletion). It is
// told by finalizers, so the object waits for it. Deleting them afterwards
// (background) needs no note.
func propagate(o api.Object, options *metav1.DeleteOptions) {
	var policy metav1.DeletionPropagation
	switch {
	case options.PropagationPolicy != nil:
		policy = *options.PropagationPolicy
	case options.OrphanDependents != nil && *options.OrphanDependents:
		policy = metav1.DeletePropagationOrphan
	case options.OrphanDependents != nil:
		policy = metav1.DeletePropagationBackground
	default:
		return // what was said before stands
	}
	finalizers := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	switch policy {
	case metav1.DeletePropagationOrphan:
		finalizers = append(finalizers, metav1.FinalizerOrphanDependents)
	case metav1.DeletePropagationForeground:
		finalizers = append(finalizers, metav1.FinalizerDeleteDependents)
	}
	o.SetFinalizers(finalizers)
}

// held says whether somebody has to do something before the object may go.
func held(o api.Object) bool {
	if ns, ok := o.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		return true
	}
	return len(o.GetFinalizers()) > 0
}

// markDeleted makes the object one that goes as soon as nothing holds it.
func markDeleted(o api.Object, now time.Time) {
	if o.GetDeletionTimestamp() == nil {
		bump(o)
	}
	if t := o.GetDeletionTimestamp(); t == nil || t.After(now) {
		setDeletion(o, now, 0)
	}
	o.SetDeletionGracePeriodSeconds(new(int64))
	if ns, ok := o.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
		ns.SetDeletionGracePeriodSeconds(nil)
	}
}

// finished says whether an update has taken away the last thing that held an object
// back whose deletion was asked for.
func finished(o api.Object) bool {
	period := o.GetDeletionGracePeriodSeconds()
	return o.GetDeletionTimestamp() != nil && !held(o) && (period == nil || *period == 0)
}
