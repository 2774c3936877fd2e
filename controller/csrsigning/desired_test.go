package csrsigning

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"slices"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

func TestSigners(t *testing.T) {
	node := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}}}
	server := &x509.CertificateRequest{Subject: node.Subject, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	jane := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}
	const (
		sign, encipher = certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment
		client, serve  = certificatesv1.UsageClientAuth, certificatesv1.UsageServerAuth
	)
	type usages = []certificatesv1.KeyUsage
	for _, c := range []struct {
		signer  string
		request *x509.CertificateRequest
		usages  usages
		want    string
	}{
		{"kube-apiserver-client", jane, usages{client}, ""},
		{"kube-apiserver-client", jane, usages{client, sign, encipher}, ""},
		{"kube-apiserver-client", jane, usages{sign}, "missing required usage for client certificate: client auth"},
		{"kube-apiserver-client", jane, usages{client, serve}, "invalid usage for client certificate: server auth"},
		{"kube-apiserver-client-kubelet", node, usages{client, sign}, ""},
		{"kube-apiserver-client-kubelet", node, usages{client, sign, encipher}, ""},
		{"kube-apiserver-client-kubelet", node, usages{client}, "usages did not match [client auth digital signature key encipherment]"},
		{"kube-apiserver-client-kubelet", server, usages{client, sign}, "IP subjectAltNames are not allowed"},
		{"kube-apiserver-client-kubelet", jane, usages{client, sign}, "subject organization is not system:nodes"},
		{"kubelet-serving", server, usages{serve, sign}, ""},
		{"kubelet-serving", node, usages{serve, sign}, "DNS or IP subjectAltName is required"},
		{"kubelet-serving", server, usages{serve, sign, client}, "usages did not match [digital signature key encipherment server auth]"},
		{"legacy-unknown", jane, usages{serve, client}, ""},
	} {
		t.Run(c.signer, func(t *testing.T) {
			got := ""
			if err := signers["kubernetes.io/"+c.signer](c.request, c.usages); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%s with %v: %q, want %q", c.request.Subject, c.usages, got, c.want)
			}
		})
	}
}

func TestToSign(t *testing.T) {
	const approved, denied, failed = certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed
	for _, c := range []struct {
		signer      string
		conditions  []certificatesv1.RequestConditionType
		certificate string
		want        bool
	}{
		{certificatesv1.KubeletServingSignerName, []certificatesv1.RequestConditionType{approved}, "", true},
		{certificatesv1.KubeletServingSignerName, nil, "", false},
		{certificatesv1.KubeletServingSignerName, []certificatesv1.RequestConditionType{denied}, "", false},
		{certificatesv1.KubeletServingSignerName, []certificatesv1.RequestConditionType{approved, failed}, "", false},
		{certificatesv1.KubeletServingSignerName, []certificatesv1.RequestConditionType{approved}, "x", false},
		{"example.com/other", []certificatesv1.RequestConditionType{approved}, "", false},
	} {
		r := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: c.signer}}
		r.Status.Certificate = []byte(c.certificate)
		for _, t := range c.conditions {
			r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: t, Status: corev1.ConditionTrue})
		}
		if got := toSign(r); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestTerms(t *testing.T) {
	const most = 24 * time.Hour
	for asked, want := range map[int32]time.Duration{600: 10 * time.Minute, 3600: time.Hour, 1: 10 * time.Minute, 1 << 30: most} {
		got, err := terms(&certificatesv1.CertificateSigningRequestSpec{ExpirationSeconds: &asked}, most)
		if err != nil || got.TTL != want {
			t.Errorf("asked for %d s: %v, %v", asked, got.TTL, err)
		}
	}
	got, err := terms(&certificatesv1.CertificateSigningRequestSpec{Usages: []certificatesv1.KeyUsage{
		certificatesv1.UsageClientAuth, certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageSMIME, certificatesv1.UsageEmailProtection}}, most)
	if err != nil || got.TTL != most || got.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment ||
		!slices.Equal(got.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageEmailProtection}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := terms(&certificatesv1.CertificateSigningRequestSpec{Usages: []certificatesv1.KeyUsage{"walking"}}, most); err == nil {
		t.Error("an unknown usage was taken")
	}
}
