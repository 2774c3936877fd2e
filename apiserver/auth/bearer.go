package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// TokenAuthenticator knows users by one sort of bearer token.
type TokenAuthenticator interface {
	// AuthenticateToken returns whose token it is, and for which of the audiences it
	// counts. A token that isn't of this sort is nil and no error.
	AuthenticateToken(ctx context.Context, token string, audiences []string) (*User, []string, error)
}

var errInvalidToken = errors.New("invalid bearer token")

// Tokens asks one authenticator after the other, and takes tokens from requests.
type Tokens struct {
	Audiences []string // what the API server calls itself
	Sorts     []TokenAuthenticator
}

// AuthenticateToken implements TokenAuthenticator. It never returns nil without an error.
func (t Tokens) AuthenticateToken(ctx context.Context, token string, audiences []string) (*User, []string, error) {
	var failures []error
	for _, sort := range t.Sorts {
		user, matched, err := sort.AuthenticateToken(ctx, token, audiences)
		if user != nil && err == nil {
			return known(user), matched, nil
		}
		if err != nil {
			failures = append(failures, err)
		}
	}
	return nil, nil, utilerrors.NewAggregate(append([]error{errInvalidToken}, failures...))
}

// Authenticate implements Authenticator. Once it has done its work the token is taken
// from the request, so that nobody passes it on.
func (t Tokens) Authenticate(r *http.Request) (*User, error) {
	if token := bearerToken(r.Header.Get("Authorization")); token != "" {
		user, _, err := t.AuthenticateToken(r.Context(), token, t.Audiences)
		if user != nil {
			r.Header.Del("Authorization")
		}
		return user, err
	}
	token, others, err := protocolToken(r)
	if err != nil || token == "" {
		return nil, err
	}
	user, _, err := t.AuthenticateToken(r.Context(), token, t.Audiences)
	if user != nil {
		r.Header.Set(webSocketProtocol, strings.Join(others, ","))
	}
	return user, err
}

// bearerToken is the token in the value of an Authorization header, "" if there is none.
func bearerToken(header string) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	token, _, _ := strings.Cut(rest, " ")
	return token
}

// A browser cannot set headers when it opens a WebSocket, but it can name protocols:
// one of them may be a token.
const (
	webSocketProtocol    = "Sec-Websocket-Protocol"
	bearerProtocolPrefix = "base64url.bearer.authorization.k8s.io."
)

// protocolToken is the token among the protocols that a WebSocket client offers, and
// the real ones. There must be at least one, as the server has to answer with it.
func protocolToken(r *http.Request) (token string, others []string, err error) {
	if !isWebSocket(r.Header) {
		return "", nil, nil
	}
	var found []string
	for _, value := range r.Header[webSocketProtocol] {
		for protocol := range strings.SplitSeq(value, ",") {
			protocol = strings.TrimSpace(protocol)
			if encoded, ok := strings.CutPrefix(protocol, bearerProtocolPrefix); ok {
				found = append(found, encoded)
			} else {
				others = append(others, protocol)
			}
		}
	}
	switch {
	case len(found) == 0:
		return "", nil, nil
	case len(found) > 1:
		return "", nil, errors.New("multiple base64.bearer.authorization tokens specified")
	}
	decoded, err := base64.RawURLEncoding.DecodeString(found[0])
	switch {
	case err != nil:
		return "", nil, errors.New("invalid base64.bearer.authorization token encoding")
	case !utf8.Valid(decoded):
		return "", nil, errors.New("invalid base64.bearer.authorization token")
	case len(decoded) > 0 && len(others) == 0:
		return "", nil, errors.New("missing additional subprotocol")
	}
	return string(decoded), others, nil
}

func isWebSocket(h http.Header) bool {
	return strings.EqualFold(h.Get("Upgrade"), "websocket") &&
		slices.ContainsFunc(strings.Split(h.Get("Connection"), ","), func(s string) bool {
			return strings.EqualFold(strings.TrimSpace(s), "upgrade")
		})
}

// intersect is what both have, in the order of a.
func intersect(a, b []string) []string {
	var both []string
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}
