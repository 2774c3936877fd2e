package bootstrapsigner

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// want is what upstream's jws.ComputeDetachedSignature makes of the content "content"
// and the token abcdef.0123456789abcdef.
const want = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..psz1NayrXM3IaFzKZGsb5n_mBl7MjtlsZ1xE8MRmF_4"

func TestSigned(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	token := func(change func(*corev1.Secret)) corev1.Secret {
		s := corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken,
			Data: map[string][]byte{"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte("true")},
		}
		if change != nil {
			change(&s)
		}
		return s
	}
	with := func(key, value string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data[key] = []byte(value) }
	}
	bare := map[string]string{"kubeconfig": "content", "other": "x"}
	full := map[string]string{"kubeconfig": "content", "other": "x", "jws-kubeconfig-abcdef": want}
	for _, c := range []struct {
		name    string
		data    map[string]string
		secrets []corev1.Secret
		want    map[string]string
	}{
		{"a token", bare, []corev1.Secret{token(nil)}, full},
		{"signed already", full, []corev1.Secret{token(nil)}, full},
		{"no token any more", full, nil, bare},
		{"forged", map[string]string{"kubeconfig": "content", "other": "x", "jws-kubeconfig-abcdef": "y", "jws-kubeconfig-zzzzzz": "z"}, []corev1.Secret{token(nil)}, full},
		{"nothing to sign", map[string]string{"other": "x"}, []corev1.Secret{token(nil)}, map[string]string{"other": "x"}},
		{"not for signing", bare, []corev1.Secret{token(with("usage-bootstrap-signing", "false"))}, bare},
		{"not yet expired", bare, []corev1.Secret{token(with("expiration", "2026-11-23T12:00:01Z"))}, full},
		{"expired", bare, []corev1.Secret{token(with("expiration", "2026-11-23T12:00:00Z"))}, bare},
		{"expires some day", bare, []corev1.Secret{token(with("expiration", "some day"))}, bare},
		{"another id", bare, []corev1.Secret{token(with("token-id", "abcdeg"))}, bare},
		{"no secret", bare, []corev1.Secret{token(with("token-secret", ""))}, bare},
		{"another type", bare, []corev1.Secret{token(func(s *corev1.Secret) { s.Type = "x" })}, bare},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, signed(c.data, c.secrets, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
