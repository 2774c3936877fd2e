package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Certificates knows users by TLS client certificates: the common name is the user,
// each organization a group.
type Certificates struct {
	roots *x509.CertPool

	// verified remembers certificates that were found good, by their DER bytes.
	// Verification costs about as much as everything else a small request does, and
	// only what the CA signed gets in here, so it stays small.
	verified sync.Map // string -> *identity
}

type identity struct {
	user     *User
	notAfter time.Time
}

// NewCertificates trusts clients whose certificate one of the roots signed.
func NewCertificates(roots *x509.CertPool) *Certificates { return &Certificates{roots: roots} }

// Authenticate implements Authenticator.
func (c *Certificates) Authenticate(r *http.Request) (*User, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	leaf := r.TLS.PeerCertificates[0]
	if id, ok := c.verified.Load(string(leaf.Raw)); ok && time.Now().Before(id.(*identity).notAfter) {
		return id.(*identity).user, nil
	}
	notAfter, err := c.verify(r.TLS.PeerCertificates)
	if err != nil {
		return nil, fmt.Errorf("verify the certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	if leaf.Subject.CommonName == "" {
		return nil, nil
	}
	user := &User{
		Name: leaf.Subject.CommonName, Groups: leaf.Subject.Organization,
		Extra: map[string][]string{extraCredentialID: {fmt.Sprintf("X509SHA256=%x", sha256.Sum256(leaf.Raw))}},
	}
	c.verified.Store(string(leaf.Raw), &identity{user: user, notAfter: notAfter})
	return user, nil
}

// verify checks the chain and says until when it is good.
func (c *Certificates) verify(chain []*x509.Certificate) (time.Time, error) {
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	found, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         c.roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return time.Time{}, err
	}
	notAfter := chain[0].NotAfter
	for _, cert := range found[0] {
		if cert.NotAfter.Before(notAfter) {
			notAfter = cert.NotAfter
		}
	}
	return notAfter, nil
}
