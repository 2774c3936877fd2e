package tokencleaner

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestRemaining(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		expiration string
		kind       corev1.SecretType
		left       time.Duration
		ends       bool
	}{
		{"", corev1.SecretTypeBootstrapToken, 0, false},
		{"2026-11-23T13:00:00Z", corev1.SecretTypeBootstrapToken, time.Hour, true},
		{"2026-11-23T14:00:00+02:00", corev1.SecretTypeBootstrapToken, 0, true},
		{"2020-01-01T00:00:00Z", corev1.SecretTypeBootstrapToken, 0, true},
		{"some day", corev1.SecretTypeBootstrapToken, 0, true},
		{"2020-01-01T00:00:00Z", corev1.SecretTypeOpaque, 0, false},
	} {
		s := &corev1.Secret{Type: c.kind, Data: map[string][]byte{"expiration": []byte(c.expiration)}}
		if left, ends := remaining(s, now); left != c.left || ends != c.ends {
			t.Errorf("%s of type %s: %v, %v", c.expiration, c.kind, left, ends)
		}
	}
}
