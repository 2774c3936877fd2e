package csrsigning

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"orrery.example.org/api"
	"orrery.example.org/pki"
)

// signers are those we are, with what each says against a request.
var signers = map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error{
	certificatesv1.KubeletServingSignerName:             api.KubeletServingRequest,
	certificatesv1.KubeAPIServerClientKubeletSignerName: api.KubeletClientRequest,
	certificatesv1.KubeAPIServerClientSignerName:        clientRequest,
	// Requests of the API versions before v1 may still be there, and may be anything.
	"kubernetes.io/legacy-unknown": func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error { return nil },
}

// clientRequest allows any client. Who it may be is the approver's business.
func clientRequest(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

// toSign says whether the request waits for us.
func toSign(c *certificatesv1.CertificateSigningRequest) bool {
	return signers[c.Spec.SignerName] != nil && len(c.Status.Certificate) == 0 &&
		api.CertificateRequestIs(c, certificatesv1.CertificateApproved) &&
		!api.CertificateRequestIs(c, certificatesv1.CertificateDenied) && !api.CertificateRequestIs(c, certificatesv1.CertificateFailed)
}

// minTTL is twice what certificates are backdated by.
const minTTL = 10 * time.Minute

// terms are what the certificate will be good for and for how long: what was asked for
// but no longer than the signer allows.
func terms(spec *certificatesv1.CertificateSigningRequestSpec, maxTTL time.Duration) (pki.Terms, error) {
	t := pki.Terms{TTL: maxTTL}
	if s := spec.ExpirationSeconds; s != nil {
		t.TTL = min(maxTTL, max(minTTL, time.Duration(*s)*time.Second))
	}
	for _, u := range spec.Usages {
		usage, isUsage := keyUsages[u]
		extended, isExtended := extendedUsages[u]
		switch {
		case isUsage:
			t.KeyUsage |= usage
		case !isExtended:
			return t, fmt.Errorf("unrecognized usage values: %q", u)
		case !slices.Contains(t.ExtKeyUsage, extended):
			t.ExtKeyUsage = append(t.ExtKeyUsage, extended)
		}
	}
	slices.Sort(t.ExtKeyUsage)
	return t, nil
}

var keyUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
	certificatesv1.UsageSigning:           x509.KeyUsageDigitalSignature,
	certificatesv1.UsageDigitalSignature:  x509.KeyUsageDigitalSignature,
	certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment,
	certificatesv1.UsageKeyEncipherment:   x509.KeyUsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement:      x509.KeyUsageKeyAgreement,
	certificatesv1.UsageDataEncipherment:  x509.KeyUsageDataEncipherment,
	certificatesv1.UsageCertSign:          x509.KeyUsageCertSign,
	certificatesv1.UsageCRLSign:           x509.KeyUsageCRLSign,
	certificatesv1.UsageEncipherOnly:      x509.KeyUsageEncipherOnly,
	certificatesv1.UsageDecipherOnly:      x509.KeyUsageDecipherOnly,
}

var extendedUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
	certificatesv1.UsageAny:             x509.ExtKeyUsageAny,
	certificatesv1.UsageServerAuth:      x509.ExtKeyUsageServerAuth,
	certificatesv1.UsageClientAuth:      x509.ExtKeyUsageClientAuth,
	certificatesv1.UsageCodeSigning:     x509.ExtKeyUsageCodeSigning,
	certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageSMIME:           x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageIPsecEndSystem:  x509.ExtKeyUsageIPSECEndSystem,
	certificatesv1.UsageIPsecTunnel:     x509.ExtKeyUsageIPSECTunnel,
	certificatesv1.UsageIPsecUser:       x509.ExtKeyUsageIPSECUser,
	certificatesv1.UsageTimestamping:    x509.ExtKeyUsageTimeStamping,
	certificatesv1.UsageOCSPSigning:     x509.ExtKeyUsageOCSPSigning,
	certificatesv1.UsageMicrosoftSGC:    x509.ExtKeyUsageMicrosoftServerGatedCrypto,
	certificatesv1.UsageNetscapeSGC:     x509.ExtKeyUsageNetscapeServerGatedCrypto,
}
