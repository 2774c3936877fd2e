package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func joinToken(change func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"},
		Type:       corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{
			"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
		},
	}
	change(s)
	return s
}

func TestBootstrapTokens(t *testing.T) {
	const token = "abcdef.0123456789abcdef"
	with := func(key, value string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data[key] = []byte(value) }
	}
	in := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339) }
	for _, c := range []struct {
		name, token string
		change      func(*corev1.Secret)
		want        string // the groups; "": nobody
	}{
		{"good", token, func(*corev1.Secret) {}, "system:bootstrappers"},
		{"more groups", token, with("auth-extra-groups", "system:bootstrappers:x,system:bootstrappers:a,system:bootstrappers:x"),
			"system:bootstrappers,system:bootstrappers:a,system:bootstrappers:x"},
		{"a group too good", token, with("auth-extra-groups", "system:masters"), ""},
		{"not yet expired", token, with("expiration", in(time.Hour)), "system:bootstrappers"},
		{"expired", token, with("expiration", in(-time.Hour)), ""},
		{"no time", token, with("expiration", "soon"), ""},
		{"for signing only", token, with("usage-bootstrap-authentication", "false"), ""},
		{"wrong secret", "abcdef.0123456789abcdeg", func(*corev1.Secret) {}, ""},
		{"wrong id", token, with("token-id", "fedcba"), ""},
		{"another type", token, func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, ""},
		{"being deleted", token, func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{} }, ""},
		{"unknown", "aaaaaa.0123456789abcdef", func(*corev1.Secret) {}, ""},
		{"malformed", "abcdef.0123456789abcde", with("token-secret", "0123456789abcde"), ""},
		{"a line more", token + "\n", func(*corev1.Secret) {}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := BootstrapTokens{Audiences: ours, Objects: objects{"secrets/kube-system/bootstrap-token-abcdef": joinToken(c.change)}}
			user, _, err := b.AuthenticateToken(t.Context(), c.token, ours)
			if err != nil {
				t.Fatal(err)
			}
			var want *User
			if c.want != "" {
				want = &User{Name: "system:bootstrap:abcdef", Groups: strings.Split(c.want, ",")}
			}
			if diff := cmp.Diff(want, user); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBootstrapTokensAreForThisServer: nobody else can have one checked.
func TestBootstrapTokensAreForThisServer(t *testing.T) {
	b := BootstrapTokens{Audiences: ours, Objects: objects{"secrets/kube-system/bootstrap-token-abcdef": joinToken(func(*corev1.Secret) {})}}
	if user, _, err := b.AuthenticateToken(t.Context(), "abcdef.0123456789abcdef", []string{"vault"}); user != nil || err != nil {
		t.Errorf("got %v %v", user, err)
	}
}
