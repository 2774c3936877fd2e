package namespace

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestConditions(t *testing.T) {
	f := newFound()
	f.note("pods", []metav1.PartialObjectMetadata{{}, {}})
	f.note("deployments.apps", []metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"foregroundDeletion"}}}})
	f.errs = []error{errors.New("no")}
	var got []string
	for _, c := range conditions(f) {
		got = append(got, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
	}
	want := []string{
		"NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered",
		"NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed",
		"NamespaceDeletionContentFailure=True ContentDeletionFailed: Failed to delete all resource types, 1 remaining: no",
		"NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: deployments.apps has 1 resource instances, pods has 2 resource instances",
		"NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: foregroundDeletion in 1 resource instances",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	var status corev1.NamespaceStatus
	if !setConditions(&status, conditions(f), metav1.Unix(1, 0)) || len(status.Conditions) != 5 {
		t.Fatalf("conditions %+v", status.Conditions)
	}
	if setConditions(&status, conditions(f), metav1.Unix(2, 0)) {
		t.Error("the same conditions change something")
	}
	delete(f.remaining, "pods")
	if !setConditions(&status, conditions(f), metav1.Unix(3, 0)) || status.Conditions[3].LastTransitionTime.Unix() != 1 {
		t.Error("a new message is no transition")
	}
	if !setConditions(&status, conditions(newFound()), metav1.Unix(4, 0)) || status.Conditions[3].LastTransitionTime.Unix() != 4 {
		t.Error("a new status is a transition")
	}
}
