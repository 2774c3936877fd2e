package apiserver

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/apiserver/auth"
)

// A client may ask to be taken for somebody else (kubectl --as), if he is allowed to
// impersonate him. Since Kubernetes 1.36 that right can be limited: by the sort of user
// (a mode), and to what is done in his name. The old right, the verb impersonate, goes
// for everything and is looked at last.
//
// Upstream counterpart: k8s.io/apiserver/pkg/endpoints/filters/impersonation.

// mode is one sort of impersonation. The old one has no name.
type mode struct {
	name string
	fits func(wanted, client *auth.User) bool
}

var modes = []mode{
	{"associated-node", func(wanted, client *auth.User) bool {
		node, ok := nodeName(wanted.Name)
		_, _, account := auth.SplitServiceAccount(client.Name)
		return ok && account && onlyName(wanted) && slices.Equal(client.Extra[auth.ExtraNodeName], []string{node})
	}},
	{"arbitrary-node", func(wanted, _ *auth.User) bool {
		_, ok := nodeName(wanted.Name)
		return ok && onlyName(wanted)
	}},
	{"serviceaccount", func(wanted, _ *auth.User) bool {
		_, _, ok := auth.SplitServiceAccount(wanted.Name)
		return ok && onlyName(wanted)
	}},
	{"user-info", func(wanted, _ *auth.User) bool {
		_, node := nodeName(wanted.Name)
		_, _, account := auth.SplitServiceAccount(wanted.Name)
		return !node && !account
	}},
	{"", func(_, _ *auth.User) bool { return true }},
}

// impersonated is for whom a request is to be taken: the client, or whom he names.
func (h *handlers) impersonated(r *http.Request, a *auth.Attributes) (*auth.User, error) {
	wanted, err := wantedUser(r.Header)
	if err != nil {
		return nil, err
	}
	if wanted == nil {
		return a.User, nil
	}
	var first error
	for _, m := range modes {
		if !m.fits(wanted, a.User) {
			continue
		}
		user, err := h.impersonate(r.Context(), m, wanted, a)
		if err == nil {
			return user, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// wantedUser reads the headers that name somebody else and takes them away, nil if there
// are none.
func wantedUser(header http.Header) (*auth.User, error) {
	u := &auth.User{
		Name:   header.Get(authenticationv1.ImpersonateUserHeader),
		UID:    header.Get(authenticationv1.ImpersonateUIDHeader),
		Groups: slices.Clone(header[authenticationv1.ImpersonateGroupHeader]),
	}
	for name, values := range header {
		key, ok := strings.CutPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix)
		if !ok || len(values) == 0 {
			continue
		}
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		key = unescape(strings.ToLower(key))
		u.Extra[key] = append(u.Extra[key], values...)
		delete(header, name)
	}
	header.Del(authenticationv1.ImpersonateUserHeader)
	header.Del(authenticationv1.ImpersonateUIDHeader)
	header.Del(authenticationv1.ImpersonateGroupHeader)
	switch {
	case u.Name != "":
		return u, nil
	case onlyName(u):
		return nil, nil
	}
	return nil, apierrors.NewBadRequest(fmt.Sprintf("requested &user.DefaultInfo{Name:%q, UID:%q, Groups:%#v, Extra:%#v} without impersonating a user name",
		u.Name, u.UID, u.Groups, u.Extra))
}

// impersonate asks whether the client may, and returns whom the request is from now on by.
func (h *handlers) impersonate(ctx context.Context, m mode, wanted *auth.User, a *auth.Attributes) (*auth.User, error) {
	for _, q := range m.questions(wanted, a) {
		if q.refused != "" {
			return nil, errForbidden(&q.Attributes, q.refused)
		}
		allowed, reason, err := h.authz.Authorize(ctx, q.Attributes)
		switch {
		case allowed:
			continue
		case err != nil:
			return nil, errForbidden(&q.Attributes, strings.TrimSuffix(err.Error()+": "+reason, ": "))
		}
		return nil, errForbidden(&q.Attributes, reason)
	}
	return m.user(wanted), nil
}

// question is something that the client must be allowed, or that nobody is.
type question struct {
	auth.Attributes
	refused string // why
}

// questions are one for each part of the wanted user, and one for what a is about.
func (m mode) questions(wanted *auth.User, a *auth.Attributes) []question {
	named := question{Attributes: auth.Attributes{User: a.User, Verb: "impersonate", Version: "v1", Resource: "users", Name: wanted.Name}}
	var all []question
	if m.name != "" {
		on := *a
		on.Verb = "impersonate-on:" + m.name + ":" + a.Verb
		all = append(all, question{Attributes: on})
		named.Verb, named.Group = "impersonate:"+m.name, authenticationv1.GroupName
	}
	other := named
	other.Group = authenticationv1.GroupName
	grouped := named
	if namespace, name, ok := auth.SplitServiceAccount(wanted.Name); ok {
		named.Resource, named.Namespace, named.Name = "serviceaccounts", namespace, name
	}
	if name, ok := nodeName(wanted.Name); ok && m.name != "" {
		named.Resource, named.Name = "nodes", name
	}
	if m.name == "associated-node" {
		named.Name = "*" // the right goes for whatever node the client runs on
	}
	all = append(all, named)
	if wanted.UID != "" {
		all = append(all, other.about("uids", "", wanted.UID))
	}
	for _, group := range wanted.Groups {
		q := grouped.about("groups", "", group)
		if m.name != "" {
			q.refused = unreasonableGroup(group)
		}
		all = append(all, q)
	}
	for _, key := range slices.Sorted(maps.Keys(wanted.Extra)) {
		for _, value := range wanted.Extra[key] {
			q := other.about("userextras", key, value)
			if m.name != "" {
				q.refused = unreasonableExtra(key, value)
			}
			all = append(all, q)
		}
	}
	return all
}

func (q question) about(resource, subresource, name string) question {
	q.Resource, q.Subresource, q.Name = resource, subresource, name
	return q
}

// unreasonableGroup says why nobody may impersonate a group, in the newer modes.
func unreasonableGroup(group string) string {
	switch group {
	case "":
		return "impersonating the empty string group is not allowed"
	case auth.GroupMasters:
		return "impersonating the system:masters group is not allowed"
	}
	return ""
}

// unreasonableExtra does the same for an entry of the user's extra.
func unreasonableExtra(key, value string) string {
	switch {
	case key == "":
		return "impersonating the empty string key in extra is not allowed"
	case key != strings.ToLower(key):
		return fmt.Sprintf("impersonating a non-lowercase key in extra is not allowed: %q", key)
	case value == "":
		return "impersonating the empty string value in extra is not allowed"
	}
	if err := utilvalidation.IsDomainPrefixedPath(field.NewPath("extra", "key"), key).ToAggregate(); err != nil {
		return "impersonating an invalid key in extra is not allowed: " + err.Error()
	}
	return ""
}

// user is the wanted one with the groups that he has without being given them.
func (m mode) user(wanted *auth.User) *auth.User {
	u := *wanted
	if namespace, _, ok := auth.SplitServiceAccount(u.Name); ok && len(u.Groups) == 0 {
		u.Groups = auth.ServiceAccountGroups(namespace)
	}
	if _, ok := nodeName(u.Name); ok && m.name != "" {
		u.Groups = []string{"system:nodes"}
	}
	everybody := auth.GroupAuthenticated
	if u.Name == auth.Anonymous {
		everybody = auth.GroupUnauthenticated
	}
	if !slices.Contains(u.Groups, everybody) && !slices.Contains(u.Groups, auth.GroupUnauthenticated) {
		u.Groups = append(slices.Clip(u.Groups), everybody)
	}
	return &u
}

// onlyName says whether nothing but a name is wanted.
func onlyName(u *auth.User) bool { return u.UID == "" && len(u.Groups)+len(u.Extra) == 0 }

// nodeName is the node whose agent's name the user has.
func nodeName(user string) (string, bool) {
	name, ok := strings.CutPrefix(user, "system:node:")
	return name, ok && len(validation.NameIsDNSSubdomain(name, false)) == 0
}
