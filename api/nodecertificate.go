package api

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// The certificates of a node: whom they are for is upstream's convention, by which API
// server, approver and signer know a node.
const (
	nodesGroup     = "system:nodes"
	nodeUserPrefix = "system:node:"
)

var (
	kubeletClientUsages = []certificatesv1.KeyUsage{
		certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	kubeletServingUsages = []certificatesv1.KeyUsage{
		certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageServerAuth}
)

// KubeletClientRequest says why the request is none for a node's client certificate.
func KubeletClientRequest(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(r.Subject.Organization, []string{nodesGroup}):
		return errors.New("subject organization is not system:nodes")
	case len(r.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(r.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(r.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(r.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	case !strings.HasPrefix(r.Subject.CommonName, nodeUserPrefix):
		return errors.New("subject common name does not begin with system:node:")
	}
	return sameUsages(usages, kubeletClientUsages)
}

// KubeletServingRequest says why the request is none for a node's serving certificate.
func KubeletServingRequest(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(r.Subject.Organization, []string{nodesGroup}):
		return errors.New("subject organization is not system:nodes")
	case len(r.DNSNames) == 0 && len(r.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(r.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(r.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := sameUsages(usages, kubeletServingUsages); err != nil {
		return err
	}
	if !strings.HasPrefix(r.Subject.CommonName, nodeUserPrefix) {
		return errors.New("subject common name does not begin with system:node:")
	}
	return nil
}

// sameUsages compares sets. Only RSA keys encipher others, so that usage may be missing.
func sameUsages(usages, want []certificatesv1.KeyUsage) error {
	got := slices.Compact(slices.Sorted(slices.Values(usages)))
	less := slices.DeleteFunc(slices.Clone(want), func(u certificatesv1.KeyUsage) bool { return u == certificatesv1.UsageKeyEncipherment })
	if slices.Equal(got, slices.Sorted(slices.Values(want))) || slices.Equal(got, slices.Sorted(slices.Values(less))) {
		return nil
	}
	return fmt.Errorf("usages did not match %v", want)
}
