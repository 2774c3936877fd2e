package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"
)

// Who joins a cluster has no CA: he makes a key, which never leaves him, and asks for
// a certificate with a request that the key has signed.

// NewKey makes a private key, in PEM.
func NewKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return encodeKey(key)
}

// ParseKey reads a private key.
func ParseKey(keyPEM []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("no private key in the PEM data")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return signer, nil
}

// NewRequest asks for a certificate (PKCS#10, in PEM) for the key.
func NewRequest(keyPEM []byte, r Request) ([]byte, error) {
	key, err := ParseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: r.User, Organization: r.Groups},
		DNSNames: r.DNS, IPAddresses: r.IPs,
	}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request for %q: %w", r.User, err)
	}
	return encode("CERTIFICATE REQUEST", der), nil
}

// Terms are on what conditions a request is signed.
type Terms struct {
	TTL         time.Duration
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []x509.ExtKeyUsage
}

// shortLived certificates are not made shorter still by their backdating.
const shortLived = 8 * time.Hour

// Sign issues the certificate, in PEM, that a request asks for. Whether he may have it
// is for the caller to know; here only the request's signature is checked, and nothing
// of it taken over but subject, names and key. No certificate outlives the CA's.
//
// Upstream counterpart: pkg/controller/certificates/authority.
func (ca *CA) Sign(request *x509.CertificateRequest, t Terms) ([]byte, error) {
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("unable to verify certificate request signature: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	notAfter := now.Add(t.TTL)
	if t.TTL >= shortLived {
		notAfter = notAfter.Add(-backdate)
	}
	if !now.Before(ca.Cert.NotAfter) {
		return nil, fmt.Errorf("the signer has expired: NotAfter=%v", ca.Cert.NotAfter)
	}
	if notAfter.After(ca.Cert.NotAfter) {
		notAfter = ca.Cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      request.Subject,
		DNSNames:     request.DNSNames, IPAddresses: request.IPAddresses,
		EmailAddresses: request.EmailAddresses, URIs: request.URIs,
		NotBefore: now.Add(-backdate), NotAfter: notAfter,
		KeyUsage: t.KeyUsage, ExtKeyUsage: t.ExtKeyUsage,
		BasicConstraintsValid: true, // and no CA
	}, ca.Cert, request.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %q: %w", request.Subject.CommonName, err)
	}
	return encode("CERTIFICATE", der), nil
}

// LoadCA reads a CA from the files of its certificate and its key.
func LoadCA(certFile, keyFile string) (*CA, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA's key: %w", err)
	}
	ca, err := ParseCA(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read the CA from %s and %s: %w", certFile, keyFile, err)
	}
	return ca, nil
}

// Leaf is the first certificate of the pair.
func (p Pair) Leaf() (*x509.Certificate, error) {
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, err
	}
	return pair.Leaf, nil
}

// Hash identifies a CA by its public key, in kubeadm's notation: who joins compares it
// with what the administrator told him.
func Hash(ca *x509.Certificate) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(ca.RawSubjectPublicKeyInfo))
}
