// Package pki is the cluster's certificate authority: it makes the CA, signs the
// certificates of servers and clients, and writes kubeconfigs.
//
// Upstream counterpart: kubeadm's certs phase. In a certificate, the common name is
// the user and each organization is a group, as Kubernetes reads them.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Lifetimes are kubeadm's.
const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	certLifetime = 365 * 24 * time.Hour
	backdate     = 5 * time.Minute // clocks of other machines may lag
)

// CA is a certificate authority. It is immutable and safe for concurrent use.
type CA struct {
	Cert *x509.Certificate
	PEM  []byte // the certificate, for whoever must trust it
	key  crypto.Signer
}

// Request says whom a certificate is for.
type Request struct {
	User   string   // common name
	Groups []string // organizations
	DNS    []string // names of a server
	IPs    []net.IP // addresses of a server
}

// Serve adds a name or an address of a server.
func (r *Request) Serve(name string) {
	if ip := net.ParseIP(name); ip != nil {
		r.IPs = append(r.IPs, ip)
	} else {
		r.DNS = append(r.DNS, name)
	}
}

// Pair is a certificate and its key, in PEM.
type Pair struct {
	Cert, Key []byte
}

// NewCA makes a CA with a fresh key.
func NewCA(name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-backdate),
		NotAfter:              time.Now().Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	return newCA(der, key)
}

func newCA(der []byte, key crypto.Signer) (*CA, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{Cert: cert, PEM: encode("CERTIFICATE", der), key: key}, nil
}

// LoadOrCreateCA reads ca.crt and ca.key from dir, or makes them there.
// A half written pair is an error: signing with a new CA would lock out every
// client that trusts the old one.
func LoadOrCreateCA(dir, name string) (*CA, error) {
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	cert, certErr := os.ReadFile(certFile)
	key, keyErr := os.ReadFile(keyFile)
	switch {
	case certErr == nil && keyErr == nil:
		ca, err := ParseCA(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read CA from %s: %w", dir, err)
		}
		return ca, nil
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		ca, err := NewCA(name)
		if err != nil {
			return nil, err
		}
		keyPEM, err := encodeKey(ca.key)
		if err != nil {
			return nil, err
		}
		return ca, Pair{Cert: ca.PEM, Key: keyPEM}.Write(dir, "ca")
	default:
		return nil, fmt.Errorf("read CA from %s: only one of ca.crt and ca.key is readable: %w; restore it, or remove both to start anew",
			dir, errors.Join(certErr, keyErr))
	}
}

// ParseCA reads a CA from PEM.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the CA's key cannot sign")
	}
	return newCA(pair.Certificate[0], signer)
}

// Issue makes a key and signs a certificate for it, good for servers (where names
// or addresses are given) and for clients.
func (ca *CA) Issue(r Request) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return Pair{}, err
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(r.DNS)+len(r.IPs) > 0 {
		usages = append(usages, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: r.User, Organization: r.Groups},
		DNSNames:     r.DNS,
		IPAddresses:  r.IPs,
		NotBefore:    time.Now().Add(-backdate),
		NotAfter:     time.Now().Add(certLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  usages,
	}, ca.Cert, key.Public(), ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate for %q: %w", r.User, err)
	}
	keyPEM, err := encodeKey(key)
	return Pair{Cert: encode("CERTIFICATE", der), Key: keyPEM}, err
}

// Pool is the set of authorities that consists of this one.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// TLS makes the pair usable in a tls.Config.
func (p Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }

// Write puts the pair into dir/name.crt and dir/name.key. The key is readable by
// its owner only and is written first, so that a certificate never lacks its key.
func (p Pair) Write(dir, name string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, name+".key"), p.Key, 0o600); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, name+".crt"), p.Cert, 0o644)
}

// writeFile replaces the file at once, so that a crash leaves the old or the new one.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return encode("PRIVATE KEY", der), err
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
