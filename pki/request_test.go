package pki

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"strings"
	"testing"
	"time"
)

// requestOf makes a key and asks for a certificate.
func requestOf(t *testing.T, r Request) (key []byte, request *x509.CertificateRequest) {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := NewRequest(key, r)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if request, err = x509.ParseCertificateRequest(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return key, request
}

func TestSign(t *testing.T) {
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	key, request := requestOf(t, Request{User: "system:node:n1", Groups: []string{"system:nodes"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	for _, c := range []struct{ ttl, want time.Duration }{
		{time.Hour, time.Hour},
		{24 * time.Hour, 24*time.Hour - backdate},
		{100 * 365 * 24 * time.Hour, time.Until(ca.Cert.NotAfter)},
	} {
		cert, err := ca.Sign(request, Terms{TTL: c.ttl, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := Pair{Cert: cert, Key: key}.Leaf()
		if err != nil {
			t.Fatalf("the certificate is not the key's: %v", err)
		}
		if off := time.Until(leaf.NotAfter) - c.want; off < -time.Minute || off > time.Minute {
			t.Errorf("asked for %s: it is good until %s", c.ttl, leaf.NotAfter)
		}
		if leaf.IsCA || !leaf.BasicConstraintsValid {
			t.Error("the certificate may sign others")
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "127.0.0.1", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
			t.Error(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
			t.Error("a certificate for servers is good for clients")
		}
	}
}

func TestSignRefuses(t *testing.T) {
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	_, request := requestOf(t, Request{User: "a"})
	_, other := requestOf(t, Request{User: "b"})
	request.PublicKey = other.PublicKey // somebody else's key
	if _, err := ca.Sign(request, Terms{TTL: time.Hour}); err == nil || !strings.Contains(err.Error(), "unable to verify certificate request signature") {
		t.Errorf("a stolen key was signed: %v", err)
	}
	ca.Cert.NotAfter = time.Now().Add(-time.Second)
	if _, err := ca.Sign(other, Terms{TTL: time.Hour}); err == nil || !strings.Contains(err.Error(), "the signer has expired") {
		t.Errorf("an expired CA signs: %v", err)
	}
}

func TestLoadCASaysWhichFile(t *testing.T) {
	if _, err := LoadCA("/does/not/exist.crt", "/does/not/exist.key"); err == nil || !strings.Contains(err.Error(), "/does/not/exist.crt") {
		t.Error(err)
	}
}
