package apiserver

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orrery.example.org/apiserver/auth"
)

// rules allows what it lists, in errForbidden's words: "verb resource[/sub][.group] [ns/]name".
type rules []string

func (r rules) Authorize(_ context.Context, a auth.Attributes) (bool, string, error) {
	for _, rule := range r {
		if rule == asked(a) {
			return true, "", nil
		}
	}
	return false, "", nil
}

func asked(a auth.Attributes) string {
	s := a.Verb + " " + a.Resource
	if a.Subresource != "" {
		s += "/" + a.Subresource
	}
	if a.Group != "" {
		s += "." + a.Group
	}
	return strings.TrimSpace(s + " " + strings.TrimPrefix(a.Namespace+"/"+a.Name, "/"))
}

func TestImpersonation(t *testing.T) {
	header := func(user string, more ...string) http.Header {
		h := http.Header{"Impersonate-User": {user}}
		for i := 0; i < len(more); i += 2 {
			h.Add(more[i], more[i+1])
		}
		return h
	}
	const old = "impersonate "
	all := func(mode string, more ...string) rules {
		return append(rules{"impersonate-on:" + mode + ":list pods shop/"}, more...)
	}
	client := &auth.User{Name: "system:serviceaccount:ops:bot", Extra: map[string][]string{auth.ExtraNodeName: {"n1"}}}
	for _, c := range []struct {
		name   string
		header http.Header
		rules  rules
		want   *auth.User // nil: refused
		fails  string
	}{
		{"nobody", http.Header{}, nil, client, ""},
		{"a user, the old way", header("bob"), rules{old + "users bob"},
			&auth.User{Name: "bob", Groups: []string{"system:authenticated"}}, ""},
		{"a user, the new way", header("bob"), all("user-info", "impersonate:user-info users.authentication.k8s.io bob"),
			&auth.User{Name: "bob", Groups: []string{"system:authenticated"}}, ""},
		{"not for this request", header("bob"), rules{"impersonate:user-info users.authentication.k8s.io bob"}, nil,
			`pods is forbidden: User "system:serviceaccount:ops:bot" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "shop"`},
		{"not this user", header("eve"), all("user-info", old+"users bob"), nil,
			`users.authentication.k8s.io "eve" is forbidden: User "system:serviceaccount:ops:bot" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope`},
		{"all of a user", header("bob", "Impersonate-Group", "g", "Impersonate-Uid", "7", "Impersonate-Extra-Example.org%2fscopes", "a"),
			rules{old + "users bob", old + "groups g", old + "uids.authentication.k8s.io 7", old + "userextras/example.org/scopes.authentication.k8s.io a"},
			&auth.User{Name: "bob", UID: "7", Groups: []string{"g", "system:authenticated"}, Extra: map[string][]string{"example.org/scopes": {"a"}}}, ""},
		{"a group too much", header("bob", "Impersonate-Group", "g", "Impersonate-Group", "h"), rules{old + "users bob", old + "groups g"}, nil,
			`pods is forbidden: User "system:serviceaccount:ops:bot" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "shop"`},
		{"masters the new way", header("bob", "Impersonate-Group", "system:masters"),
			all("user-info", "impersonate:user-info users.authentication.k8s.io bob", "impersonate:user-info groups.authentication.k8s.io system:masters"), nil,
			`groups.authentication.k8s.io "system:masters" is forbidden: User "system:serviceaccount:ops:bot" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed`},
		{"an account", header("system:serviceaccount:shop:till"), rules{old + "serviceaccounts shop/till"},
			&auth.User{Name: "system:serviceaccount:shop:till", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"}}, ""},
		{"an account, the new way", header("system:serviceaccount:shop:till"), all("serviceaccount", "impersonate:serviceaccount serviceaccounts.authentication.k8s.io shop/till"),
			&auth.User{Name: "system:serviceaccount:shop:till", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"}}, ""},
		{"an account with other groups", header("system:serviceaccount:shop:till", "Impersonate-Group", "system:unauthenticated"),
			rules{old + "serviceaccounts shop/till", old + "groups system:unauthenticated"},
			&auth.User{Name: "system:serviceaccount:shop:till", Groups: []string{"system:unauthenticated"}}, ""},
		{"its own node", header("system:node:n1"), all("associated-node", "impersonate:associated-node nodes.authentication.k8s.io *"),
			&auth.User{Name: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}}, ""},
		{"another node", header("system:node:n2"), all("associated-node", "impersonate:associated-node nodes.authentication.k8s.io *"), nil,
			`pods is forbidden: User "system:serviceaccount:ops:bot" cannot impersonate-on:arbitrary-node:list resource "pods" in API group "" in the namespace "shop"`},
		{"any node", header("system:node:n2"), all("arbitrary-node", "impersonate:arbitrary-node nodes.authentication.k8s.io n2"),
			&auth.User{Name: "system:node:n2", Groups: []string{"system:nodes", "system:authenticated"}}, ""},
		{"a node, the old way", header("system:node:n2"), rules{old + "users system:node:n2"},
			&auth.User{Name: "system:node:n2", Groups: []string{"system:authenticated"}}, ""},
		{"anonymous", header("system:anonymous"), rules{old + "users system:anonymous"},
			&auth.User{Name: "system:anonymous", Groups: []string{"system:unauthenticated"}}, ""},
		{"a group without a user", http.Header{"Impersonate-Group": {"g"}}, nil, nil,
			`requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"g"}, Extra:map[string][]string(nil)} without impersonating a user name`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &handlers{authz: c.rules}
			r := (&http.Request{Header: c.header}).WithContext(t.Context())
			user, err := h.impersonated(r, &auth.Attributes{User: client, Verb: "list", Version: "v1", Resource: "pods", Namespace: "shop"})
			if (err != nil) != (c.fails != "") || err != nil && err.Error() != c.fails {
				t.Fatalf("error %v\nwant  %s", err, c.fails)
			}
			if diff := cmp.Diff(c.want, user); diff != "" {
				t.Error(diff)
			}
			for name := range c.header {
				t.Errorf("the header %s is passed on", name)
			}
		})
	}
}
