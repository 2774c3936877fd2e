package namespace

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// found is what a pass over a terminating namespace came upon.
type found struct {
	errs       []error
	remaining  map[string]int // objects left, by resource
	finalizers map[string]int // objects that carry a finalizer, by finalizer
}

func newFound() *found {
	return &found{remaining: map[string]int{}, finalizers: map[string]int{}}
}

// empty reports whether the namespace can go.
func (f *found) empty() bool { return len(f.errs) == 0 && len(f.remaining) == 0 }

// note takes note of objects that are left.
func (f *found) note(resource string, items []metav1.PartialObjectMetadata) {
	if len(items) == 0 {
		return
	}
	f.remaining[resource] += len(items)
	for _, item := range items {
		for _, finalizer := range item.Finalizers {
			f.finalizers[finalizer]++
		}
	}
}

// conditions say how the deletion goes, in upstream's words.
func conditions(f *found) []corev1.NamespaceCondition {
	row := func(kind corev1.NamespaceConditionType, bad bool, badReason, badMessage, reason, message string) corev1.NamespaceCondition {
		if bad {
			return corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionTrue, Reason: badReason, Message: badMessage}
		}
		return corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
	}
	return []corev1.NamespaceCondition{
		row(corev1.NamespaceDeletionDiscoveryFailure, false, "", "", "ResourcesDiscovered", "All resources successfully discovered"),
		row(corev1.NamespaceDeletionGVParsingFailure, false, "", "", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
		row(corev1.NamespaceDeletionContentFailure, len(f.errs) > 0, "ContentDeletionFailed", failures(f.errs),
			"ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
		row(corev1.NamespaceContentRemaining, len(f.remaining) > 0, "SomeResourcesRemain",
			"Some resources are remaining: "+list(f.remaining, "%s has %d resource instances"),
			"ContentRemoved", "All content successfully removed"),
		row(corev1.NamespaceFinalizersRemaining, len(f.finalizers) > 0, "SomeFinalizersRemain",
			"Some content in the namespace has finalizers remaining: "+list(f.finalizers, "%s in %d resource instances"),
			"ContentHasNoFinalizers", "All content-preserving finalizers finished"),
	}
}

func failures(errs []error) string {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	slices.Sort(texts)
	return fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(texts), strings.Join(texts, ", "))
}

func list(counts map[string]int, format string) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		texts = append(texts, fmt.Sprintf(format, name, counts[name]))
	}
	return strings.Join(texts, ", ")
}

// setConditions puts the conditions into the status and reports whether that changed
// it. The transition time moves only when a condition's status does.
func setConditions(status *corev1.NamespaceStatus, next []corev1.NamespaceCondition, now metav1.Time) (changed bool) {
	for _, c := range next {
		c.LastTransitionTime = now
		i := slices.IndexFunc(status.Conditions, func(old corev1.NamespaceCondition) bool { return old.Type == c.Type })
		if i < 0 {
			status.Conditions = append(status.Conditions, c)
			changed = true
			continue
		}
		old := &status.Conditions[i]
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		if *old != c {
			*old = c
			changed = true
		}
	}
	return changed
}

// finalizing reports whether the namespace waits for this loop.
func finalizing(ns *corev1.Namespace) bool {
	return ns.DeletionTimestamp != nil && slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
}
