package apiserver

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/pki"
)

// withAccount makes the ServiceAccount default/till and a Pod that runs as it.
func (c *cluster) withAccount() (pod *corev1.Pod) {
	c.t.Helper()
	core := c.client().CoreV1()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "till"}}
	if _, err := core.ServiceAccounts("default").Create(c.t.Context(), account, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	pod, err := core.Pods("default").Create(c.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "till", AutomountServiceAccountToken: new(false), NodeName: "node1",
			Containers: []corev1.Container{{Name: "c", Image: "nginx"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return pod
}

func (c *cluster) request(spec authenticationv1.TokenRequestSpec) (*authenticationv1.TokenRequest, error) {
	return c.client().CoreV1().ServiceAccounts("default").CreateToken(c.t.Context(), "till",
		&authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
}

// as is a client that shows the token and nothing else.
func (c *cluster) as(token string) *kubernetes.Clientset {
	cfg := rest.AnonymousClientConfig(c.admin)
	cfg.BearerToken = token
	return kubernetes.NewForConfigOrDie(cfg)
}

func (c *cluster) whoAmI(token string) (authenticationv1.UserInfo, error) {
	review, err := c.as(token).AuthenticationV1().SelfSubjectReviews().Create(c.t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return review.Status.UserInfo, nil
}

func (c *cluster) review(token string, audiences ...string) authenticationv1.TokenReviewStatus {
	c.t.Helper()
	review, err := c.client().AuthenticationV1().TokenReviews().Create(c.t.Context(),
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return review.Status
}

func podRef(p *corev1.Pod) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}
}

// TestTokenOfAPod: it works, tells who it is, and stops working with the Pod.
func TestTokenOfAPod(t *testing.T) {
	c := start(t)
	pod := c.withAccount()
	got, err := c.request(authenticationv1.TokenRequestSpec{BoundObjectRef: podRef(pod), ExpirationSeconds: new(int64(3607))})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(got.Status.ExpirationTimestamp.Time); left > 3607*time.Second || left < 3500*time.Second {
		t.Errorf("it says that it expires in %v", left)
	}
	user, err := c.whoAmI(got.Status.Token)
	if err != nil {
		t.Fatal(err)
	}
	if user.Username != "system:serviceaccount:default:till" || user.UID != string(got.UID) ||
		!cmp.Equal(user.Groups, []string{"system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"}) ||
		user.Extra["authentication.kubernetes.io/pod-name"].String() != "[web]" || user.Extra["authentication.kubernetes.io/node-name"].String() != "[node1]" {
		t.Errorf("the token is of %+v", user)
	}
	status := c.review(got.Status.Token)
	if diff := cmp.Diff(authenticationv1.TokenReviewStatus{Authenticated: true, User: user, Audiences: got.Spec.Audiences}, status); diff != "" {
		t.Error(diff)
	}
	if status := c.review(got.Status.Token, "vault"); status.Authenticated || !strings.Contains(status.Error, "is invalid for the target audiences") {
		t.Errorf("for another audience: %+v", status)
	}
	if err := c.client().CoreV1().Pods("default").Delete(t.Context(), "web", *metav1.NewDeleteOptions(0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token of a deleted Pod", func() error {
		_, err := c.whoAmI(got.Status.Token)
		return expect("401", apierrors.IsUnauthorized(err), true)
	})
	if status := c.review(got.Status.Token); status.Authenticated || status.Error != "[invalid bearer token, service account token has been invalidated]" {
		t.Errorf("reviewed: %+v", status)
	}
}

func TestTokenRequests(t *testing.T) {
	c := start(t)
	pod := c.withAccount()
	other := podRef(pod)
	other.UID = "another"
	for _, r := range []struct {
		name  string
		spec  authenticationv1.TokenRequestSpec
		fails string
	}{
		{"short", authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(599))},
			`TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes`},
		{"long", authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(1<<32 + 1))},
			`TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds`},
		{"a Pod that isn't", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "x"}},
			`pods "x" not found`},
		{"a Pod of old", authenticationv1.TokenRequestSpec{BoundObjectRef: other},
			`Operation cannot be fulfilled on Pod "web": the UID in the bound object reference (another) does not match the UID in record. The object might have been deleted and then recreated`},
		{"something else", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Service", Name: "kubernetes"}},
			`cannot bind token to object of type /v1, Kind=Service`},
	} {
		if _, err := c.request(r.spec); err == nil || err.Error() != r.fails {
			t.Errorf("%s: %v\nwant %s", r.name, err, r.fails)
		}
	}
	_, err := c.client().CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "nobody", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("of nobody: %v", err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	if _, err := c.client().CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.client().CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "other",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: podRef(pod)}}, metav1.CreateOptions{})
	if want := `cannot bind token for serviceaccount "other" to pod running with different serviceaccount name.`; err == nil || err.Error() != want {
		t.Errorf("for another account's Pod: %v", err)
	}
	plain, err := c.request(authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	if err != nil {
		t.Fatal(err)
	}
	if plain.Spec.ExpirationSeconds == nil || *plain.Spec.ExpirationSeconds != 3600 || plain.Name != "till" || plain.Namespace != "default" {
		t.Errorf("defaults %+v", plain)
	}
	if _, err := c.whoAmI(plain.Status.Token); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token for somebody else is taken: %v", err)
	}
	if status := c.review(plain.Status.Token, "vault", "other"); !status.Authenticated || !cmp.Equal(status.Audiences, []string{"vault"}) {
		t.Errorf("reviewed for vault: %+v", status)
	}
}

// TestTokensSurviveRestart: the key is kept, and the server knows its tokens before its
// caches are filled.
func TestTokensSurviveRestart(t *testing.T) {
	key, err := pki.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	keep := func(cfg *Config) { cfg.ServiceAccountKey = key }
	c := start(t, keep)
	c.withAccount()
	got, err := c.request(authenticationv1.TokenRequestSpec{})
	if err != nil {
		t.Fatal(err)
	}
	c.stop()
	c.boot(keep)
	if user, err := c.whoAmI(got.Status.Token); err != nil || user.Username != "system:serviceaccount:default:till" {
		t.Errorf("after a restart: %v %v", user, err)
	}
}

func TestBootstrapTokenAndAs(t *testing.T) {
	c := start(t)
	if _, err := c.whoAmI("abcdef.0123456789abcdef"); !apierrors.IsUnauthorized(err) {
		t.Errorf("before it exists: %v", err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"},
	}
	if _, err := c.client().CoreV1().Secrets("kube-system").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	user, err := c.whoAmI("abcdef.0123456789abcdef")
	want := authenticationv1.UserInfo{Username: "system:bootstrap:abcdef", Groups: []string{"system:bootstrappers", "system:authenticated"}}
	if diff := cmp.Diff(want, user); diff != "" || err != nil {
		t.Error(err, diff)
	}
	cfg := rest.CopyConfig(c.admin)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "bob", Groups: []string{"devs"}, Extra: map[string][]string{"Example.org/x": {"1"}}}
	review, err := kubernetes.NewForConfigOrDie(cfg).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want = authenticationv1.UserInfo{Username: "bob", Groups: []string{"devs", "system:authenticated"}, Extra: map[string]authenticationv1.ExtraValue{"example.org/x": {"1"}}}
	if diff := cmp.Diff(want, review.Status.UserInfo); diff != "" {
		t.Error(diff)
	}
}

// TestIssuerIsPublished: what relying parties fetch.
func TestIssuerIsPublished(t *testing.T) {
	c := start(t)
	for path, has := range map[string]string{"/.well-known/openid-configuration": "issuer", "/openid/v1/jwks": "keys"} {
		resp, err := c.http().Get(c.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		var document map[string]any
		if err := json.Unmarshal(body, &document); err != nil || document[has] == nil || resp.StatusCode != 200 {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}
