package api

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// legacySigner could be asked through the API versions before v1 only.
const legacySigner = "kubernetes.io/legacy-unknown"

// minExpiration is the shortest life of a certificate that may be asked for, in seconds.
const minExpiration = 600

// keyUsages is what a certificate can be good for, in the order that messages list it.
var keyUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment,
	certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection,
	certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
	certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning,
	certificatesv1.UsageSMIME, certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
}

// ParseCertificateRequest reads the PKCS#10 request that a CertificateSigningRequest
// carries in PEM.
func ParseCertificateRequest(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

func validateCertificateRequest(c *certificateRequest) field.ErrorList {
	var errs field.ErrorList
	spec, at := &c.Spec, field.NewPath("spec")
	request, err := ParseCertificateRequest(spec.Request)
	if err == nil {
		err = request.CheckSignature() // whoever asks must have the key
	}
	if err != nil {
		errs = append(errs, field.Invalid(at.Child("request"), spec.Request, err.Error()))
	}
	errs = append(errs, validateUsages(spec.Usages, at.Child("usages"))...)
	if spec.SignerName == legacySigner {
		errs = append(errs, field.Invalid(at.Child("signerName"), spec.SignerName, "the legacy signerName is not allowed via this API version"))
	} else {
		errs = append(errs, validateSignerName(spec.SignerName, at.Child("signerName"))...)
	}
	if s := spec.ExpirationSeconds; s != nil && *s < minExpiration {
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	errs = append(errs, validateRequestConditions(c.Status.Conditions, field.NewPath("status", "conditions"))...)
	if err := checkCertificates(c.Status.Certificate); err != nil {
		errs = append(errs, field.Invalid(field.NewPath("status", "certificate"), "<certificate data>", err.Error()))
	}
	return errs
}

func validateUsages(usages []certificatesv1.KeyUsage, at *field.Path) field.ErrorList {
	if len(usages) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	for i, usage := range usages {
		if !slices.Contains(keyUsages, usage) {
			errs = append(errs, field.NotSupported(at.Index(i), usage, keyUsages))
		}
	}
	seen := sets.Set[certificatesv1.KeyUsage]{}
	for i, usage := range usages {
		errs = append(errs, unique(usage, seen, at.Index(i))...)
	}
	return errs
}

// validateSignerName wants "example.com/name", with room for a namespace in the name.
func validateSignerName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		return field.ErrorList{field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	const longestDomain = validation.DNS1123SubdomainMaxLength
	const longest = 2*longestDomain + validation.DNS1123LabelMaxLength + 2
	var errs field.ErrorList
	if len(domain) > longestDomain {
		errs = append(errs, field.TooLong(at, "", longestDomain))
	}
	labels := strings.Split(domain, ".")
	errs = append(errs, validateEach(labels, domain, validation.IsDNS1123Label, at)...)
	if len(labels) < 2 {
		errs = append(errs, field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, validateEach(strings.Split(path, "."), path, validation.IsDNS1123Subdomain, at)...)
	if len(name) > longest {
		errs = append(errs, field.TooLong(at, "", longest))
	}
	return errs
}

// validateEach complains about the first label that breaks the rule.
func validateEach(labels []string, whole string, rule func(string) []string, at *field.Path) field.ErrorList {
	for _, label := range labels {
		var errs field.ErrorList
		for _, message := range rule(label) {
			errs = append(errs, field.Invalid(at, whole, fmt.Sprintf("validating label %q: %s", label, message)))
		}
		if len(errs) > 0 {
			return errs
		}
	}
	return nil
}

// lasting are the conditions that are true or not there, and once there stay.
var lasting = []certificatesv1.RequestConditionType{
	certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed,
}

func validateRequestConditions(conditions []certificatesv1.CertificateSigningRequestCondition, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.Set[certificatesv1.RequestConditionType]{}
	for i, c := range conditions {
		if c.Type == "" {
			errs = append(errs, field.Required(at.Index(i).Child("type"), ""))
		}
		statuses := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		if slices.Contains(lasting, c.Type) {
			statuses = []corev1.ConditionStatus{corev1.ConditionTrue}
		}
		errs = append(errs, oneOf(c.Status, at.Index(i).Child("status"), statuses...)...)
		if c.Type == certificatesv1.CertificateApproved && seen.Has(certificatesv1.CertificateDenied) ||
			c.Type == certificatesv1.CertificateDenied && seen.Has(certificatesv1.CertificateApproved) {
			errs = append(errs, field.Invalid(at, c.Type, "Approved and Denied conditions are mutually exclusive"))
		}
		errs = append(errs, unique(c.Type, seen, at.Index(i).Child("type"))...)
	}
	return errs
}

// checkCertificates wants nothing but certificates in PEM, if there is anything.
func checkCertificates(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	blocks := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		blocks++
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

// What an update may do depends on the path it comes by.
func validateCertificateRequestUpdate(c, old *certificateRequest) field.ErrorList {
	return slices.Concat(validateCertificateRequest(c), conditionsStay(c, old), approvalStays(c, old), certificateStays(c, old, false))
}

func validateSigning(c, old *certificateRequest) field.ErrorList {
	return slices.Concat(validateCertificateRequest(c), conditionsStay(c, old), approvalStays(c, old), certificateStays(c, old, true))
}

func validateApproval(c, old *certificateRequest) field.ErrorList {
	return slices.Concat(validateCertificateRequest(c), conditionsStay(c, old), certificateStays(c, old, false))
}

var (
	requestConditions = field.NewPath("status", "conditions")
	issuedCertificate = field.NewPath("status", "certificate")
)

// conditionsStay: what was decided is not taken back.
func conditionsStay(c, old *certificateRequest) field.ErrorList {
	var errs field.ErrorList
	for _, t := range lasting {
		if len(conditionsOf(c, t)) < len(conditionsOf(old, t)) {
			errs = append(errs, field.Forbidden(requestConditions, fmt.Sprintf("updates may not remove a condition of type %q", t)))
		}
	}
	return errs
}

// approvalStays: only /approval decides.
func approvalStays(c, old *certificateRequest) field.ErrorList {
	var errs field.ErrorList
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		had, has := conditionsOf(old, t), conditionsOf(c, t)
		switch {
		case len(has) < len(had): // conditionsStay says so
		case len(has) > len(had):
			errs = append(errs, field.Forbidden(requestConditions, fmt.Sprintf("updates may not add a condition of type %q", t)))
		case !equality.Semantic.DeepEqual(had, has):
			errs = append(errs, field.Forbidden(requestConditions, fmt.Sprintf("updates may not modify a condition of type %q\n%v", t, diff.Diff(had, has))))
		}
	}
	return errs
}

// certificateStays: only /status issues a certificate, and only once.
func certificateStays(c, old *certificateRequest, maySet bool) field.ErrorList {
	switch {
	case bytes.Equal(c.Status.Certificate, old.Status.Certificate):
		return nil
	case !maySet:
		return field.ErrorList{field.Forbidden(issuedCertificate, "updates may not set certificate content")}
	case len(old.Status.Certificate) > 0:
		return field.ErrorList{field.Forbidden(issuedCertificate, "updates may not modify existing certificate content")}
	}
	return nil
}
