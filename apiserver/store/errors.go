package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ErrSlow ends a watcher whose reader fell behind the history that is kept.
var ErrSlow = errors.New("the reader of the watch is too slow")

// ErrClaimed is returned by Write when somebody else holds a name.
type ErrClaimed struct{ Name string }

func (e *ErrClaimed) Error() string { return e.Name + " is already taken" }

// The messages of a 410. Clients react to the reason, people read these.
const (
	oldList     = "The resourceVersion for the provided list is too old."
	oldContinue = "The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter."
	oldContinueToken = "The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response " +
		"to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - " +
		"objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
)

// errOldContinue comes with a token for those who would rather have the rest of the
// list as it is now than begin anew.
func errOldContinue(start string) error {
	if start == "" {
		return apierrors.NewResourceExpired(oldContinue)
	}
	err := apierrors.NewResourceExpired(oldContinueToken)
	err.ErrStatus.Continue = continueToken{Revision: -1, Start: start}.String()
	return err
}

func errOldWatch(asked, oldest int64) error {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", asked, oldest))
}

// errTooLarge is for a revision that etcd has not reached.
func errTooLarge(asked, current int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, current), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type:    metav1.CauseTypeResourceVersionTooLarge,
		Message: "Too large resource version",
	}}
	return err
}

// translate makes an API error of etcd's. What it does not know stays as it is: the API
// server answers 500 with its text, which is upstream's way with a full database.
func translate(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, rpctypes.ErrTooManyRequests):
		return apierrors.NewTooManyRequests(err.Error(), 1)
	case errors.Is(err, rpctypes.ErrNoLeader): // nothing was done, and nothing will be until there is one
		return apierrors.NewServiceUnavailable(err.Error())
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return apierrors.NewTimeoutError(fmt.Sprintf("%s: %v", doing, err), 1)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// isTimeout: etcd didn't get an answer in time, so nobody knows whether it was done.
func isTimeout(err error) bool {
	for _, timeout := range []error{
		rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost,
		rpctypes.ErrTimeoutWaitAppliedIndex, rpctypes.ErrLeaderChanged,
	} {
		if errors.Is(err, timeout) {
			return true
		}
	}
	return false
}
