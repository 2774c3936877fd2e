package csrcleaner

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// How long requests are kept: an hour once they have had an answer, a day without one.
const (
	answered = time.Hour
	waiting  = 24 * time.Hour
)

// due is when the request may go; the zero time if never.
func due(c *certificatesv1.CertificateSigningRequest) time.Time {
	var first time.Time
	at := func(t time.Time, after time.Duration) {
		if !t.IsZero() && (first.IsZero() || t.Add(after).Before(first)) {
			first = t.Add(after)
		}
	}
	if len(c.Status.Conditions) == 0 {
		at(c.CreationTimestamp.Time, waiting)
	}
	for _, cond := range c.Status.Conditions {
		switch {
		case cond.Type == certificatesv1.CertificateDenied, cond.Type == certificatesv1.CertificateFailed:
			at(cond.LastUpdateTime.Time, answered)
		case cond.Type == certificatesv1.CertificateApproved && len(c.Status.Certificate) == 0:
			at(cond.LastUpdateTime.Time, waiting)
		case cond.Type == certificatesv1.CertificateApproved:
			at(cond.LastUpdateTime.Time, answered)
			at(expiry(c.Status.Certificate), 0)
		}
	}
	return first
}

// expiry is when the first certificate ends; the zero time if there is none to be read.
func expiry(data []byte) time.Time {
	block, _ := pem.Decode(data)
	if block == nil {
		return time.Time{}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}
	}
	return cert.NotAfter
}
