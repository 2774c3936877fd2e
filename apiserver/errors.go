package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
)

// status is the one error table: whatever went wrong, a client sees a metav1.Status
// with upstream's reason, message and code.
func status(err error) *metav1.Status {
	var known apierrors.APIStatus
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		s := known.Status()
		return &s
	case errors.As(err, &tooLarge):
		return statusOf(apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", tooLarge.Limit)))
	case errors.Is(err, context.DeadlineExceeded):
		return statusOf(apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0))
	case errors.Is(err, context.Canceled):
		// Who asked has gone; the code is for the metrics.
		return &metav1.Status{Status: metav1.StatusFailure, Code: 499, Message: err.Error(), Reason: "ClientClosedRequest"}
	}
	return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}
}

func statusOf(e *apierrors.StatusError) *metav1.Status { return &e.ErrStatus }

// failure makes an error for which apimachinery has no constructor.
func failure(code int, reason metav1.StatusReason, format string, args ...any) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: fmt.Sprintf(format, args...),
	}}
}

// The errors of paths, methods and media types.
func errNoSuchPath() error {
	return unroutable(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
}

func errMethodNotAllowed() error {
	return unroutable(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed,
		"the server does not allow this method on the requested resource")
}

func errNoRepresentation(types []string) error {
	return unroutable(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"406: Not Acceptable\n\nAvailable representations: "+strings.Join(types, ", "))
}

func errNoPatchType() error {
	return unroutable(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, "415: Unsupported Media Type")
}

// unroutable is an error of the router's.
func unroutable(code int, reason metav1.StatusReason, message string) error {
	err := failure(code, reason, "%s", message)
	err.ErrStatus.Details = &metav1.StatusDetails{}
	return err
}

func errNotAcceptable(accepted string) error {
	return failure(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"only the following media types are accepted: %s", accepted)
}

func errUnsupportedMedia(accepted string) error {
	return failure(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		"the body of the request was in an unknown format - accepted media types include: %s", accepted)
}

// errNotThatMany is for metadata of one object where a list is, and the other way round.
func errNotThatMany(a accept, is string, v *api.Version) error {
	return failure(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"you requested %s, but the requested object is %s (*%s.%s)", a.as.Kind, is, groupTitle(v.Group), v.Kind)
}
