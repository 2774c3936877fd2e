package api

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of an Event that says when it happened (eventTime), as newer ones do.
const (
	maxEventWords = 128
	maxEventNote  = 1024
)

var events = define(Kind{
	Versions:       []Version{version[corev1.Event, corev1.EventList](corev1.SchemeGroupVersion, "Event"), eventsV1()},
	Resource:       "events",
	Singular:       "event",
	ShortNames:     []string{"ev"},
	Namespaced:     true,
	CreateOnUpdate: true,
	AnyFinalizer:   true,
	TTL:            time.Hour, // kube-apiserver's --event-ttl
	Columns: []Column{
		column("Last Seen", doc(corev1.Event{}, "lastTimestamp"), eventLastSeen),
		column("Type", doc(corev1.Event{}, "type"), func(e *corev1.Event) any { return e.Type }),
		column("Reason", doc(corev1.Event{}, "reason"), func(e *corev1.Event) any { return e.Reason }),
		column("Object", doc(corev1.Event{}, "involvedObject"), eventObject),
		column("Subobject", doc(corev1.ObjectReference{}, "fieldPath"), func(e *corev1.Event) any { return e.InvolvedObject.FieldPath }).wide(),
		column("Source", doc(corev1.Event{}, "source"), eventSource).wide(),
		column("Message", doc(corev1.Event{}, "message"), func(e *corev1.Event) any { return strings.TrimSpace(e.Message) }),
		column("First Seen", doc(corev1.Event{}, "firstTimestamp"), eventFirstSeen).wide(),
		column("Count", doc(corev1.Event{}, "count"), eventCount).wide(),
		nameColumn().wide(),
	},
}, Rules[corev1.Event]{
	Validate: validateEvent,
	Fields:   eventFields,
})

// eventFields are many: "what happened to this object" is a field selector.
func eventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}

func eventFirstSeen(e *corev1.Event) string {
	if e.FirstTimestamp.IsZero() {
		return since(e.EventTime.Time)
	}
	return since(e.FirstTimestamp.Time)
}

func eventLastSeen(e *corev1.Event) string {
	switch {
	case e.Series != nil:
		return since(e.Series.LastObservedTime.Time)
	case e.LastTimestamp.IsZero():
		return eventFirstSeen(e)
	}
	return since(e.LastTimestamp.Time)
}

func eventCount(e *corev1.Event) int64 {
	switch {
	case e.Series != nil:
		return int64(e.Series.Count)
	case e.Count == 0: // the newer API counts only repetitions
		return 1
	}
	return int64(e.Count)
}

func eventObject(e *corev1.Event) string {
	kind := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name == "" {
		return kind
	}
	return kind + "/" + e.InvolvedObject.Name
}

func eventSource(e *corev1.Event) string {
	component, host := e.Source.Component, e.Source.Host
	fill(&component, e.ReportingController)
	fill(&host, e.ReportingInstance)
	if host == "" {
		return component
	}
	return component + ", " + host
}

// validateEvent is lenient with events that only have the older timestamps. What comes
// through events.k8s.io has to pass validateEventsV1 as well.
func validateEvent(e *corev1.Event) field.ErrorList {
	errs := dnsSubdomain(e.Namespace, field.NewPath("namespace"))
	about := e.InvolvedObject.Namespace
	if !eventBelongs(e.Namespace, about, !e.EventTime.IsZero()) {
		errs = append(errs, field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace"))
	}
	if e.EventTime.IsZero() {
		return errs
	}
	for _, f := range []struct{ name, value string }{
		{"reportingController", e.ReportingController}, {"reportingInstance", e.ReportingInstance},
		{"action", e.Action}, {"reason", e.Reason},
	} {
		if f.value == "" {
			errs = append(errs, field.Required(field.NewPath(f.name), ""))
		}
		if f.name == "reportingController" {
			errs = append(errs, qualifiedName(f.value, field.NewPath(f.name))...)
		} else if len(f.value) > maxEventWords {
			errs = append(errs, field.Invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %d characters", maxEventWords)))
		}
	}
	if len(e.Message) > maxEventNote {
		errs = append(errs, field.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %d characters", maxEventNote)))
	}
	return errs
}

// eventBelongs: an event lives in the namespace of what it is about; about things
// without a namespace, nodes for example, it lives in default.
func eventBelongs(namespace, about string, recent bool) bool {
	switch {
	case about != "":
		return recent || namespace == about
	case recent:
		return namespace == metav1.NamespaceDefault || namespace == metav1.NamespaceSystem
	}
	return namespace == metav1.NamespaceNone || namespace == metav1.NamespaceDefault
}
