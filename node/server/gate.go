package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
)

// A node knows nobody. Who shows a certificate of the cluster's CA is who the certificate
// says; whose a token is, and what anybody may do, the node asks the API server, and
// remembers the answers for a while. Upstream counterpart: pkg/kubelet/server/auth.go.
type gate struct {
	node     string
	roots    *x509.CertPool
	client   kubernetes.Interface
	tokens   *cache.LRUExpireCache // sha256 of a token -> *authenticationv1.UserInfo, nil for nobody's
	verdicts *cache.LRUExpireCache // question -> bool
}

// How long answers are remembered, kubelet's defaults, and how many.
const (
	tokenTTL   = 2 * time.Minute
	allowedTTL = 5 * time.Minute
	deniedTTL  = 30 * time.Second
	remembered = 4096
)

func newGate(node string, roots *x509.CertPool, client kubernetes.Interface) *gate {
	return &gate{node: node, roots: roots, client: client,
		tokens: cache.NewLRUExpireCache(remembered), verdicts: cache.NewLRUExpireCache(remembered)}
}

var errUnknown = errors.New("neither a certificate nor a token says who it is")

// guard lets requests through whose sender may do what they ask for.
func (s *Server) guard(next http.Handler) http.Handler {
	g := s.gate
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := g.authenticate(r)
		if err != nil {
			s.cfg.Log.Debug("a request is refused", "path", r.URL.Path, "err", err)
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb, subresources := wants(r.Method, r.URL.Path)
		for _, subresource := range subresources { // one of them is enough
			allowed, err := g.authorize(r.Context(), user, verb, subresource)
			if err != nil {
				s.cfg.Log.Error("asking the API server what a client may do", "user", user.Username, "err", err)
				http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", user.Username, verb, subresource),
					http.StatusInternalServerError)
				return
			}
			if allowed {
				next.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", user.Username, verb, subresources), http.StatusForbidden)
	})
}

// verbs are what HTTP's methods are called in RBAC.
var verbs = map[string]string{"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

// fineGrained are the paths for which there is a right of their own beside that to
// everything, nodes/proxy; narrow are those for which there is nothing else.
var (
	fineGrained = []struct{ path, subresource string }{
		{"/pods", "pods"}, {"/allocatedPods", "pods"}, {"/healthz", "healthz"}, {"/configz", "configz"}, {"/runningpods", "pods"},
	}
	narrow = []struct{ path, subresource string }{
		{"/stats", "stats"}, {"/metrics", "metrics"}, {"/logs", "log"}, {"/checkpoint", "checkpoint"}, {"/statusz", "statusz"}, {"/flagz", "configz"},
	}
)

// wants is what a request needs in terms of RBAC: the verb on one of the subresources of
// the Node.
func wants(method, path string) (verb string, subresources []string) {
	below := func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") }
	for _, f := range narrow {
		if below(f.path) {
			return verbs[method], []string{f.subresource}
		}
	}
	for _, f := range fineGrained {
		if below(f.path) {
			return verbs[method], []string{f.subresource, "proxy"}
		}
	}
	return verbs[method], []string{"proxy"}
}

// authenticate finds out who sent the request.
func (g *gate) authenticate(r *http.Request) (*authenticationv1.UserInfo, error) {
	failure := errUnknown
	if chain := r.TLS.PeerCertificates; len(chain) > 0 {
		user, err := g.certified(chain)
		if err == nil {
			return user, nil
		}
		failure = err
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return nil, failure
	}
	return g.review(r.Context(), token)
}

// certified is the user that a certificate names.
func (g *gate) certified(chain []*x509.Certificate) (*authenticationv1.UserInfo, error) {
	others := x509.NewCertPool()
	for _, cert := range chain[1:] {
		others.AddCert(cert)
	}
	leaf := chain[0]
	_, err := leaf.Verify(x509.VerifyOptions{Roots: g.roots, Intermediates: others, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, fmt.Errorf("verify the certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	groups := append(slices.Clip(leaf.Subject.Organization), "system:authenticated")
	return &authenticationv1.UserInfo{Username: leaf.Subject.CommonName, Groups: groups}, nil
}

// review asks the API server whose token it is.
func (g *gate) review(ctx context.Context, token string) (*authenticationv1.UserInfo, error) {
	key := sha256.Sum256([]byte(token))
	if user, ok := g.tokens.Get(key); ok {
		return known(user.(*authenticationv1.UserInfo))
	}
	review, err := g.client.AuthenticationV1().TokenReviews().Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("review a token: %w", err)
	}
	var user *authenticationv1.UserInfo
	if review.Status.Authenticated {
		user = &review.Status.User
	}
	g.tokens.Add(key, user, tokenTTL)
	return known(user)
}

func known(user *authenticationv1.UserInfo) (*authenticationv1.UserInfo, error) {
	if user == nil {
		return nil, errUnknown
	}
	return user, nil
}

// authorize asks the API server whether the user may do this to the node.
func (g *gate) authorize(ctx context.Context, user *authenticationv1.UserInfo, verb, subresource string) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: verb, Version: "v1", Resource: "nodes", Subresource: subresource, Name: g.node,
		},
	}
	for key, values := range user.Extra {
		if spec.Extra == nil {
			spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	key := spec.String() // sorted; the node's name is in it, and no secret
	if allowed, ok := g.verdicts.Get(key); ok {
		return allowed.(bool), nil
	}
	review, err := g.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("review the access of %s: %w", user.Username, err)
	}
	ttl := deniedTTL
	if review.Status.Allowed {
		ttl = allowedTTL
	}
	g.verdicts.Add(key, review.Status.Allowed, ttl)
	return review.Status.Allowed, nil
}
