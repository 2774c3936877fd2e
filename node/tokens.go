package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// tokens holds the tokens of one Pod's ServiceAccount. The agent asks the API server for
// them in the Pod's name, so that they end with it, and renews them long before they
// expire. Upstream counterpart: kubelet's token manager.
type tokens struct {
	mu   sync.Mutex
	held map[tokenKey]*heldToken
}

// tokenKey is what a token is for.
type tokenKey struct {
	audience string
	seconds  int64
}

type heldToken struct {
	text    string
	expires time.Time
	renew   time.Time
}

func keyOf(p *corev1.ServiceAccountTokenProjection) tokenKey {
	return tokenKey{p.Audience, ptr.Deref(p.ExpirationSeconds, 3600)}
}

// tokenAnswer is a token as projections get it, or why there is none.
type tokenAnswer struct {
	text string
	err  error
}

// request asks the API server for a token; it is what differs in tests.
type request func(ctx context.Context, k tokenKey) (text string, expires time.Time, err error)

// get returns a token that is good for a while, from the API server if need be.
func (t *tokens) get(ctx context.Context, k tokenKey, ask request) tokenAnswer {
	t.mu.Lock() // a Pod's volumes are filled by one goroutine, now and then by a second
	defer t.mu.Unlock()
	old := t.held[k]
	if old != nil && time.Now().Before(old.renew) {
		return tokenAnswer{text: old.text}
	}
	text, expires, err := ask(ctx, k)
	switch {
	case err == nil:
	case old == nil:
		return tokenAnswer{err: fmt.Errorf("failed to fetch token: %w", err)}
	case time.Now().After(old.expires):
		return tokenAnswer{err: fmt.Errorf("token expired and refresh failed: %w", err)}
	default: // the old one will do a little longer
		old.renew = time.Now().Add(tokenRetry)
		return tokenAnswer{text: old.text}
	}
	if t.held == nil {
		t.held = map[tokenKey]*heldToken{}
	}
	lifetime := time.Duration(k.seconds) * time.Second
	t.held[k] = &heldToken{text: text, expires: expires, renew: renewal(expires, lifetime, rand.N(renewalJitter))}
	return tokenAnswer{text: text}
}

const (
	tokenRetry    = time.Minute
	tokenMaxAge   = 24 * time.Hour
	renewalJitter = 10 * time.Second // Pods that started together renew one after the other
)

// renewal is when a token is due: after four fifths of its life, or a day.
func renewal(expires time.Time, lifetime, jitter time.Duration) time.Time {
	left := min(lifetime*4/5, tokenMaxAge) - jitter
	return expires.Add(left - lifetime)
}

// due fires when the first of the tokens is to be renewed, never without any.
func (t *tokens) due() (fire <-chan time.Time, stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var first time.Time
	for _, h := range t.held {
		if first.IsZero() || h.renew.Before(first) {
			first = h.renew
		}
	}
	if first.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(first))
	return timer.C, func() { timer.Stop() }
}

// tokensFor gets every token that the volumes want.
func (p *pod) tokensFor(ctx context.Context, volumes []*corev1.Volume) map[tokenKey]tokenAnswer {
	answers := map[tokenKey]tokenAnswer{}
	for _, v := range volumes {
		for projection := range tokenProjections(v) {
			k := keyOf(projection)
			if _, known := answers[k]; !known {
				answers[k] = p.tokens.get(ctx, k, p.requestToken)
			}
		}
	}
	return answers
}

// tokenProjections yields the projections of a volume that are tokens.
func tokenProjections(v *corev1.Volume) func(yield func(*corev1.ServiceAccountTokenProjection) bool) {
	return func(yield func(*corev1.ServiceAccountTokenProjection) bool) {
		if v.Projected == nil {
			return
		}
		for i := range v.Projected.Sources {
			if t := v.Projected.Sources[i].ServiceAccountToken; t != nil && !yield(t) {
				return
			}
		}
	}
}

// requestToken asks the API server for a token that is bound to the Pod.
func (p *pod) requestToken(ctx context.Context, k tokenKey) (string, time.Time, error) {
	object := p.latest()
	spec := authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &k.seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: object.Name, UID: object.UID},
	}
	if k.audience != "" {
		spec.Audiences = []string{k.audience}
	}
	got, err := p.node.client.CoreV1().ServiceAccounts(object.Namespace).CreateToken(ctx, object.Spec.ServiceAccountName,
		&authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, err
	}
	return got.Status.Token, got.Status.ExpirationTimestamp.Time, nil
}
