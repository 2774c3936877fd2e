package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"

	"orrery.example.org/api"
	"orrery.example.org/pki"
)

// signer plays the cluster: it answers every request by its rule.
func signer(ctx context.Context, t *testing.T, client kubernetes.Interface, answer func(*certificatesv1.CertificateSigningRequest)) {
	requests := client.CertificatesV1().CertificateSigningRequests()
	watch, err := requests.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-watch.ResultChan():
			r, ok := event.Object.(*certificatesv1.CertificateSigningRequest)
			if !ok || len(r.Status.Conditions) > 0 || event.Type == "DELETED" {
				continue
			}
			r = r.DeepCopy()
			answer(r)
			if _, err := requests.UpdateStatus(ctx, r, metav1.UpdateOptions{}); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	}
}

// issuing signs for ttl.
func issuing(t *testing.T, ca *pki.CA, ttl time.Duration) func(*certificatesv1.CertificateSigningRequest) {
	return func(r *certificatesv1.CertificateSigningRequest) {
		parsed, err := api.ParseCertificateRequest(r.Spec.Request)
		if err != nil {
			t.Error(err)
			return
		}
		r.Status.Certificate, err = ca.Sign(parsed, pki.Terms{TTL: ttl, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			t.Error(err)
		}
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue})
	}
}

func identity(t *testing.T, client kubernetes.Interface) *Identity {
	return &Identity{
		cfg: Config{Node: "n1", Addresses: []string{"172.30.0.11"}, Dir: filepath.Join(t.TempDir(), "pki"), Log: slog.New(slog.DiscardHandler)},
		api: client, server: &rest.Config{Host: "https://192.0.2.1"}, dialer: connrotation.NewDialer(nil),
	}
}

// TestRenewal lives through a day with certificates of an hour.
func TestRenewal(t *testing.T) {
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		// The CA is of the machine's time, the bubble begins earlier.
		ca.Cert.NotBefore, ca.Cert.NotAfter = time.Now(), time.Now().Add(1000*time.Hour)
		client := fake.NewClientset()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{}, 2)
		go func() { signer(ctx, t, client, issuing(t, ca, time.Hour)); done <- struct{}{} }()
		synctest.Wait()
		n := identity(t, client)
		first, err := n.request(ctx, client, n.clientRequest())
		if err != nil {
			t.Fatal(err)
		}
		n.client.Store(first)
		go func() { _ = n.Run(ctx); done <- struct{}{} }()
		for range 24 * 60 {
			time.Sleep(time.Minute)
			synctest.Wait()
			for what, cert := range map[string]*tls.Certificate{"client": n.client.Load(), "serving": n.serving.Load()} {
				if cert == nil || time.Until(cert.Leaf.NotAfter) < 5*time.Minute {
					t.Fatalf("%s certificate: %v", what, cert)
				}
			}
		}
		list, err := client.CertificatesV1().CertificateSigningRequests().List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := meta.LenList(list); got < 48 || got > 80 { // two every 42 to 54 minutes
			t.Errorf("%d requests in a day", got)
		}
		kept, err := readPair(n.cfg.clientFile())
		if err != nil || !kept.Leaf.Equal(n.client.Load().Leaf) {
			t.Errorf("the file holds another certificate: %v", err)
		}
		cancel()
		<-done
		<-done
	})
}

func TestRenewalTime(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		before, life time.Duration
		chance       float64
		want         time.Duration
	}{
		{5 * time.Minute, time.Hour, 0, 42 * time.Minute},
		{5 * time.Minute, time.Hour, 1, 54 * time.Minute},
		{5 * time.Minute, 20 * time.Second, 0, 14 * time.Second}, // not at once
		{0, 100 * time.Second, 0, 70 * time.Second},
	} {
		cert := &x509.Certificate{NotBefore: start.Add(-c.before), NotAfter: start.Add(c.life)}
		if got := renewal(cert, c.chance).Sub(start); got.Round(time.Second) != c.want {
			t.Errorf("%+v: after %s", c, got)
		}
	}
}

// TestVerdicts: a refusal ends the wait, and the next attempt is another request; a
// deletion is followed by the same request again.
func TestVerdicts(t *testing.T) {
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		answer func(*certificatesv1.CertificateSigningRequest)
		want   string
	}{
		{"denied", func(r *certificatesv1.CertificateSigningRequest) {
			r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, Reason: "KubectlDeny", Message: "no"}}
		}, "was denied: KubectlDeny: no"},
		{"failed", func(r *certificatesv1.CertificateSigningRequest) {
			r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateFailed}}
		}, "failed: no reason is given"},
		{"another's certificate", func(r *certificatesv1.CertificateSigningRequest) {
			issuing(t, ca, time.Hour)(r)
			pair, err := ca.Issue(pki.Node("n2"))
			if err != nil {
				t.Error(err)
			}
			r.Status.Certificate = pair.Cert
		}, "is not the one asked for: tls: private key does not match public key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { signer(ctx, t, client, c.answer); close(done) }()
				synctest.Wait()
				n := identity(t, client)
				_, err := n.request(ctx, client, n.clientRequest())
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				if _, err := os.Stat(n.clientRequest().pending); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the next try would ask the same again: %v", err)
				}
				cancel()
				<-done
			})
		})
	}
}

// TestRestartAsksTheSame: who is interrupted while waiting finds his request again.
func TestRestartAsksTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		n := identity(t, client)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if _, err := n.request(ctx, client, n.clientRequest()); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		list, err := client.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Errorf("%d requests, %v", len(list.Items), err)
		}
	})
}

func TestCAHash(t *testing.T) {
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ca     []byte
		hashes []string
		want   string
	}{
		{ca.PEM, nil, ""},
		{ca.PEM, []string{pki.Hash(other.Cert), pki.Hash(ca.Cert)}, ""},
		{ca.PEM, []string{pki.Hash(other.Cert)}, "does not match any of the public keys"},
		{ca.PEM, []string{"sha256:abc"}, "invalid hash"},
		{ca.PEM, []string{"md5:" + strings.Repeat("0", 64)}, "invalid hash"},
		{nil, nil, "names no CA"},
		{[]byte("nonsense"), []string{pki.Hash(ca.Cert)}, "names no CA"},
	} {
		if err := checkCA(c.ca, c.hashes); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.hashes, err, c.want)
		}
	}
	if got := fmt.Sprint(len(pki.Hash(ca.Cert))); got != "71" {
		t.Errorf("a hash of %s characters", got)
	}
}
