package auth

import (
	"context"
	"slices"
	"strings"
)

// Union asks one authorizer after the other: the first that allows decides. The reasons of
// those that don't are put together, each behind its authorizer's name.
type Union []Named

// Named is an authorizer with the name that its refusals are known by.
type Named struct {
	Name string
	Authorizer
}

// Authorize implements Authorizer.
func (u Union) Authorize(ctx context.Context, a Attributes) (bool, string, error) {
	var reasons []string
	for _, one := range u {
		allowed, reason, err := one.Authorize(ctx, a)
		if allowed || err != nil {
			return allowed, reason, err
		}
		if reason != "" {
			reasons = append(reasons, one.Name+": "+reason)
		}
	}
	return false, strings.Join(reasons, "\n"), nil
}

// Masters lets the group system:masters do everything, whatever is stored.
type Masters struct{}

// Authorize implements Authorizer.
func (Masters) Authorize(_ context.Context, a Attributes) (bool, string, error) {
	return slices.Contains(a.User.Groups, GroupMasters), "", nil
}

// Nobody is --authorization-mode=AlwaysDeny.
type Nobody struct{}

// Authorize implements Authorizer.
func (Nobody) Authorize(context.Context, Attributes) (bool, string, error) {
	return false, "Everything is forbidden.", nil
}

// public is what anybody may read, by upstream's role system:public-info-viewer.
var public = []string{"/healthz", "/livez", "/readyz", "/version"}

// Authenticated is --authorization-mode=AlwaysAllow. It lets everybody in whom an
// authenticator knows, and anonymous requests only to the health checks and the version.
//
// Kubernetes: has no anonymous requests in this mode, not even for health.
type Authenticated struct{}

// Authorize implements Authorizer.
func (Authenticated) Authorize(_ context.Context, a Attributes) (bool, string, error) {
	if a.User.Name != Anonymous {
		return true, "", nil
	}
	return a.IsPath() && a.Verb == "get" && slices.Contains(public, a.Path), "", nil
}
