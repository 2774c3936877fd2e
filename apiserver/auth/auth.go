// Package auth answers the API server's two questions about a request: who are
// you, and may you.
//
// Upstream counterpart: k8s.io/apiserver/pkg/authentication and .../authorization.
// An Authenticator turns a request into a User, an Authorizer turns a User and what
// is asked for into yes or no. The API server asks them in that order, before any
// handler runs. Users are known by client certificates (x509.go), by the tokens of
// ServiceAccounts (jwt.go, serviceaccount.go) and by bootstrap tokens (bootstrap.go). What
// they may is said by roles (rbac/, and policy/ for those a cluster starts with).
// Left out: OpenID providers, webhooks, tokens from files and proxies that name users.
package auth

import (
	"context"
	"net/http"
	"slices"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// The groups and users Kubernetes itself hands out.
const (
	Anonymous            = "system:anonymous"
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
	GroupMasters         = "system:masters"
)

// User is who sent a request.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// Authenticator finds out who sent a request. It returns nil and no error when the
// request carries nothing that it understands, and an error when it does but the
// credentials are not good.
type Authenticator interface {
	Authenticate(r *http.Request) (*User, error)
}

// Attributes are what a request wants to do.
type Attributes struct {
	User        *User
	Verb        string // get, list, watch, create, …; the lower-cased method for paths that are no resource
	Group       string
	Version     string
	Resource    string // "" for a path that is no resource
	Subresource string
	Namespace   string
	Name        string
	Path        string

	// Unnamed says that a resource is meant although Resource is "". No request does that,
	// but who reviews access may ask, and "*" covers it.
	Unnamed bool

	// What a list, watch or deletion is limited to; nil where it is not, or nonsense.
	FieldSelector fields.Requirements
	LabelSelector labels.Requirements
}

// IsPath says whether a path is asked for that is no resource.
func (a *Attributes) IsPath() bool { return a.Resource == "" && !a.Unnamed }

// Authorizer decides whether a request may proceed. The reason goes into the 403.
type Authorizer interface {
	Authorize(ctx context.Context, a Attributes) (allowed bool, reason string, err error)
}

// Chain asks one authenticator after the other; the first that knows the user wins.
// Nobody knowing him makes him anonymous. An error counts only if nobody knows him.
type Chain []Authenticator

// Authenticate implements Authenticator. It never returns nil without an error.
func (c Chain) Authenticate(r *http.Request) (*User, error) {
	var failure error
	for _, a := range c {
		user, err := a.Authenticate(r)
		if user != nil {
			return known(user), nil
		}
		if err != nil {
			failure = err
		}
	}
	if failure != nil {
		return nil, failure
	}
	return &User{Name: Anonymous, Groups: []string{GroupUnauthenticated}}, nil
}

// known adds the group of all whom we know. The user may be shared, so it is copied.
func known(u *User) *User {
	if slices.Contains(u.Groups, GroupAuthenticated) {
		return u
	}
	copied := *u
	copied.Groups = append(slices.Clip(slices.Clone(u.Groups)), GroupAuthenticated)
	return &copied
}
