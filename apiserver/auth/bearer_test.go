package auth

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// alice is known by the token "alices", for one audience.
type alice struct{}

func (alice) AuthenticateToken(_ context.Context, token string, audiences []string) (*User, []string, error) {
	if token == "alices" {
		return &User{Name: "alice"}, intersect(ours, audiences), nil
	}
	return nil, nil, nil
}

func TestBearer(t *testing.T) {
	protocol := func(token string) string {
		return bearerProtocolPrefix + base64.RawURLEncoding.EncodeToString([]byte(token))
	}
	socket := func(protocols ...string) http.Header {
		return http.Header{"Upgrade": {"websocket"}, "Connection": {"keep-alive, Upgrade"}, webSocketProtocol: protocols}
	}
	for _, c := range []struct {
		name   string
		header http.Header
		want   string // the user
		fails  string
		left   string // of the header that the token was in
	}{
		{"nothing", http.Header{}, "", "", ""},
		{"a bearer", http.Header{"Authorization": {"Bearer alices"}}, "alice", "", ""},
		{"any case and more words", http.Header{"Authorization": {" bEaReR alices please"}}, "alice", "", ""},
		{"nobody's", http.Header{"Authorization": {"Bearer bobs"}}, "", "invalid bearer token", "Bearer bobs"},
		{"empty", http.Header{"Authorization": {"Bearer "}}, "", "", "Bearer "},
		{"a space before", http.Header{"Authorization": {"Bearer  alices"}}, "", "", "Bearer  alices"},
		{"another scheme", http.Header{"Authorization": {"Basic alices"}}, "", "", "Basic alices"},
		{"a protocol", socket("v5.channel.k8s.io, " + protocol("alices")), "alice", "", "v5.channel.k8s.io"},
		{"two headers", socket(protocol("alices"), "a,b"), "alice", "", "a,b"},
		{"a protocol of no socket", http.Header{webSocketProtocol: {protocol("alices") + ",a"}}, "", "", protocol("alices") + ",a"},
		{"alone", socket(protocol("alices")), "", "missing additional subprotocol", protocol("alices")},
		{"two tokens", socket("a", protocol("alices"), protocol("alices")), "", "multiple base64.bearer.authorization tokens specified", "a"},
		{"no base64", socket("a", bearerProtocolPrefix+"=="), "", "invalid base64.bearer.authorization token encoding", "a"},
		{"no text", socket("a", protocol("\xff")), "", "invalid base64.bearer.authorization token", "a"},
		{"an empty one", socket("a", bearerProtocolPrefix), "", "", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{Header: c.header}
			user, err := Tokens{Audiences: ours, Sorts: []TokenAuthenticator{alice{}}}.Authenticate(r)
			if text(err) != c.fails {
				t.Fatalf("error %v, want %q", err, c.fails)
			}
			if (user != nil) != (c.want != "") || user != nil && user.Name != c.want {
				t.Errorf("got %v", user)
			}
			if user != nil && !cmp.Equal(user.Groups, []string{GroupAuthenticated}) {
				t.Errorf("groups %v", user.Groups)
			}
			if left := r.Header.Get("Authorization") + r.Header.Get(webSocketProtocol); left != c.left {
				t.Errorf("left %q, want %q", left, c.left)
			}
		})
	}
}

func FuzzBearer(f *testing.F) {
	f.Add("Bearer x", "a,"+bearerProtocolPrefix+"eA")
	f.Add("bearer  x y", bearerProtocolPrefix)
	f.Fuzz(func(t *testing.T, authorization, protocols string) {
		if token := bearerToken(authorization); strings.Contains(token, " ") || token != "" && !strings.Contains(authorization, token) {
			t.Errorf("%q holds the token %q", authorization, token)
		}
		r := &http.Request{Header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, webSocketProtocol: {protocols}}}
		token, others, err := protocolToken(r)
		if token != "" && (err != nil || len(others) == 0) {
			t.Errorf("%q: %q %q %v", protocols, token, others, err)
		}
		for _, o := range others {
			if strings.HasPrefix(o, bearerProtocolPrefix) {
				t.Errorf("%q: the token is passed on", protocols)
			}
		}
	})
}
