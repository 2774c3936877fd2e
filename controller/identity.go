package controller

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Every loop writes as somebody of its own, so that a role says what it may do and
// managedFields and logs say who did something: the ServiceAccount of upstream's name for
// it in kube-system. The manager itself may read everything, which its informers do for
// all loops, and get tokens for these accounts.
//
// Upstream counterpart: kube-controller-manager's --use-service-account-credentials, which
// kubeadm sets, and k8s.io/controller-manager/pkg/clientbuilder.

// account is one loop's identity: a transport that adds its token.
type account struct {
	name   string
	client kubernetes.Interface // the manager's own, which gets the token
	next   http.RoundTripper    // shared by all accounts

	mu    sync.Mutex
	token string
	renew time.Time
}

// RoundTrip implements http.RoundTripper. The first request gets the token.
func (a *account) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := a.current(r.Context())
	if err != nil {
		return nil, fmt.Errorf("be %s: %w", a.name, err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := a.next.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		a.forget(token) // the account was made anew; whoever tries again gets a new token
	}
	return resp, err
}

// tokenLifetime is asked for; the API server may give less. A token is replaced after
// four fifths of what it gave.
const tokenLifetime = time.Hour

func (a *account) current(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && time.Now().Before(a.renew) {
		return a.token, nil
	}
	accounts := a.client.CoreV1().ServiceAccounts(metav1.NamespaceSystem)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenLifetime / time.Second))}}
	got, err := accounts.CreateToken(ctx, a.name, request, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		made := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: a.name}}
		if _, err = accounts.Create(ctx, made, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return "", err
		}
		got, err = accounts.CreateToken(ctx, a.name, request, metav1.CreateOptions{})
	}
	if err != nil {
		return "", err
	}
	a.token = got.Status.Token
	a.renew = time.Now().Add(time.Until(got.Status.ExpirationTimestamp.Time) * 4 / 5)
	return a.token, nil
}

func (a *account) forget(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == token {
		a.token = ""
	}
}

// clients are how one identity reaches the API server.
type clients struct {
	typed    kubernetes.Interface
	metadata metadata.Interface
}

// newClients makes both clients on one transport.
func newClients(c *rest.Config, client *http.Client) (clients, error) {
	var (
		made clients
		err  error
	)
	c = rest.CopyConfig(c)
	if made.metadata, err = metadata.NewForConfigAndClient(c, client); err != nil {
		return made, err
	}
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	made.typed, err = kubernetes.NewForConfigAndClient(c, client)
	return made, err
}

// as is the access of the ServiceAccount.
func (m *Manager) as(name string) (clients, error) {
	return newClients(m.nobody, &http.Client{Transport: &account{name: name, client: m.client, next: m.shared}})
}
