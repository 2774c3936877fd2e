package csrcleaner

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/controller/loop"
	"orrery.example.org/pki"
)

// certificate is one that is good for ttl from now on.
func certificate(t *testing.T, ttl time.Duration) []byte {
	t.Helper()
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pki.NewRequest(key, pki.Request{User: "x"})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(parsed, pki.Terms{TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestClean makes a request of each state and looks which are left as time goes by.
func TestClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := metav1.Now()
		request := func(name string, cert []byte, types ...certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequest {
			r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: now}}
			r.Status.Certificate = cert
			for _, t := range types {
				r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: t, Status: corev1.ConditionTrue, LastUpdateTime: now})
			}
			return r
		}
		const approved = certificatesv1.CertificateApproved
		client := fake.NewClientset(
			request("short", certificate(t, 20*time.Minute), approved), request("issued", certificate(t, time.Hour*48), approved),
			request("denied", nil, certificatesv1.CertificateDenied), request("failed", nil, approved, certificatesv1.CertificateFailed),
			request("pending", nil), request("unsigned", nil, approved), request("odd", []byte("nonsense"), approved),
			request("of another", nil, "example.com/Seen"))
		factory := informers.NewSharedInformerFactory(client, 0)
		c := New(loop.Env{Client: client, Informers: factory, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		factory.StartWithContext(ctx)
		cache.WaitFor(ctx, "", c.Synced()...)
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		defer func() { cancel(); <-done; factory.Shutdown() }()

		left := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(time.Until(now.Add(after)))
			synctest.Wait()
			list, err := client.CertificatesV1().CertificateSigningRequests().List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, r := range list.Items {
				names = append(names, r.Name)
			}
			slices.Sort(names)
			if got := strings.Join(names, ", "); got != want {
				t.Errorf("after %s: %s\nwant %s", after, got, want)
			}
		}
		left(19*time.Minute, "denied, failed, issued, odd, of another, pending, short, unsigned")
		left(21*time.Minute, "denied, failed, issued, odd, of another, pending, unsigned")
		left(61*time.Minute, "of another, pending, unsigned")
		left(23*time.Hour, "of another, pending, unsigned")
		left(25*time.Hour, "of another")
	})
}
