package auth

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orrery.example.org/pki"
)

func request(t *testing.T, p pki.Pair) *http.Request {
	t.Helper()
	r := &http.Request{TLS: &tls.ConnectionState{}}
	if len(p.Cert) > 0 {
		block, _ := pem.Decode(p.Cert)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		r.TLS.PeerCertificates = []*x509.Certificate{cert}
	}
	return r
}

func TestCertificates(t *testing.T) {
	ours, err := pki.NewCA("ours")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := pki.NewCA("theirs")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(ca *pki.CA, r pki.Request) pki.Pair {
		p, err := ca.Issue(r)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	chain := Chain{NewCertificates(ours.Pool())}
	admin := issue(ours, pki.Admin)
	for _, c := range []struct {
		name string
		pair pki.Pair
		want *User
	}{
		{"ours", admin, &User{Name: "kubernetes-admin", Groups: []string{"system:masters", GroupAuthenticated}}},
		{"ours again, remembered", admin, &User{Name: "kubernetes-admin", Groups: []string{"system:masters", GroupAuthenticated}}},
		{"none", pki.Pair{}, &User{Name: Anonymous, Groups: []string{GroupUnauthenticated}}},
		{"another CA's", issue(theirs, pki.Admin), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			user, err := chain.Authenticate(request(t, c.pair))
			if (err != nil) != (c.want == nil) {
				t.Fatalf("error %v", err)
			}
			if user != nil && user.Extra != nil {
				if id := user.Extra[extraCredentialID]; len(id) != 1 || !strings.HasPrefix(id[0], "X509SHA256=") {
					t.Errorf("credential id %q", id)
				}
				without := *user
				without.Extra = nil
				user = &without
			}
			if diff := cmp.Diff(c.want, user); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type knows struct {
	user *User
	err  error
}

func (k knows) Authenticate(*http.Request) (*User, error) { return k.user, k.err }

func TestChain(t *testing.T) {
	bad := errors.New("bad credentials")
	user := &User{Name: "ann"}
	for _, c := range []struct {
		name  string
		chain Chain
		want  string
	}{
		{"first that knows", Chain{knows{}, knows{user: user}}, "ann"},
		{"an error does not stop the others", Chain{knows{err: bad}, knows{user: user}}, "ann"},
		{"an error counts if nobody knows", Chain{knows{err: bad}, knows{}}, ""},
		{"nobody", nil, Anonymous},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.chain.Authenticate(nil)
			if (err != nil) != (c.want == "") {
				t.Fatalf("error %v", err)
			}
			if got != nil && got.Name != c.want {
				t.Errorf("got %s", got.Name)
			}
		})
	}
	if len(user.Groups) != 0 {
		t.Error("a shared user was changed")
	}
}

func TestAuthenticated(t *testing.T) {
	for _, c := range []struct {
		name string
		a    Attributes
		want bool
	}{
		{"a user", Attributes{User: &User{Name: "ann"}, Verb: "delete", Resource: "pods"}, true},
		{"anybody, health", Attributes{User: &User{Name: Anonymous}, Verb: "get", Path: "/readyz"}, true},
		{"anybody, one check", Attributes{User: &User{Name: Anonymous}, Verb: "get", Path: "/readyz/etcd"}, false},
		{"anybody, a resource", Attributes{User: &User{Name: Anonymous}, Verb: "get", Resource: "pods", Path: "/version"}, false},
		{"anybody, posting", Attributes{User: &User{Name: Anonymous}, Verb: "post", Path: "/healthz"}, false},
	} {
		if got, _, _ := (Authenticated{}).Authorize(t.Context(), c.a); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
