package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// requestPEM is a good request, certificatePEM a certificate.
func requestPEM(t testing.TB, subject pkix.Name) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func certificatePEM(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func condition(t certificatesv1.RequestConditionType) certificatesv1.CertificateSigningRequestCondition {
	return certificatesv1.CertificateSigningRequestCondition{Type: t, Status: corev1.ConditionTrue}
}

func aRequest(t testing.TB) func() *certificateRequest {
	text := requestPEM(t, pkix.Name{CommonName: "jane"})
	return func() *certificateRequest {
		return &certificateRequest{ObjectMeta: metaCluster("any:name"), Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: text, SignerName: "example.com/clients", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		}}
	}
}

func TestInvalidCertificateRequests(t *testing.T) {
	base := aRequest(t)
	signer := func(name string) func(*certificateRequest) {
		return func(c *certificateRequest) { c.Spec.SignerName = name }
	}
	const label = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`
	created(t, certificateSigningRequests, base, []invalidCase[certificateRequest]{
		{"short life", func(c *certificateRequest) { c.Spec.ExpirationSeconds = ptr(int32(599)) },
			[]string{"spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"}},
		{"long life", func(c *certificateRequest) { c.Spec.ExpirationSeconds = ptr(int32(600)) }, nil},
		{"no usages", func(c *certificateRequest) { c.Spec.Usages = nil }, []string{"spec.usages: Required value"}},
		{"usage twice", func(c *certificateRequest) { c.Spec.Usages = append(c.Spec.Usages, c.Spec.Usages...) },
			[]string{`spec.usages[1]: Duplicate value: "client auth"`}},
		{"no signer", signer(""), []string{"spec.signerName: Required value"}},
		{"legacy signer", signer("kubernetes.io/legacy-unknown"),
			[]string{`spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version`}},
		{"signer without domain", signer("me"),
			[]string{`spec.signerName: Invalid value: "me": must be a fully qualified domain and path of the form 'example.com/signer-name'`}},
		{"signer with two paths", signer("a.b/c/d"),
			[]string{`spec.signerName: Invalid value: "a.b/c/d": must be a fully qualified domain and path of the form 'example.com/signer-name'`}},
		{"signer of a short domain", signer("com/x"),
			[]string{`spec.signerName: Invalid value: "com": should be a domain with at least two segments separated by dots`}},
		{"signer in capitals", signer("Example.com/x"),
			[]string{`spec.signerName: Invalid value: "Example.com": validating label "Example": ` + label}},
		{"status is not the client's", func(c *certificateRequest) {
			c.Status.Conditions = append(c.Status.Conditions, condition(certificatesv1.CertificateApproved))
		}, nil},
	})
	// The message of an unreadable request repeats it, byte by byte.
	for name, text := range map[string][]byte{
		"PEM block type must be CERTIFICATE REQUEST": []byte("nonsense"),
		"asn1: structure error":                      pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte{0x30, 0x80}}),
	} {
		c := base()
		c.Spec.Request = text
		if errs := certificateSigningRequests.BeforeCreate(c); len(errs) != 1 || errs[0].Field != "spec.request" {
			t.Errorf("%s: %v", name, errs)
		}
	}
	c := base()
	c.Spec.Usages = append(c.Spec.Usages, "walking")
	if errs := certificateSigningRequests.BeforeCreate(c); len(errs) != 1 || !strings.HasPrefix(errs[0].Error(),
		`spec.usages[1]: Unsupported value: "walking": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign"`) {
		t.Errorf("unknown usage: %v", errs)
	}
}

// TestCertificateRequestUpdates tries each change by each of the three ways.
func TestCertificateRequestUpdates(t *testing.T) {
	cert, other := certificatePEM(t), certificatePEM(t)
	base := aRequest(t)
	approved, denied := condition(certificatesv1.CertificateApproved), condition(certificatesv1.CertificateDenied)
	const (
		conditions  = "status.conditions: Forbidden: updates may not "
		certificate = "status.certificate: Forbidden: updates may not "
	)
	for _, c := range []struct {
		name             string
		old, next        func(*certificatesv1.CertificateSigningRequestStatus)
		approval, status []string
	}{
		{"approve", nil, func(s *certificatesv1.CertificateSigningRequestStatus) { s.Conditions = append(s.Conditions, approved) },
			nil, []string{conditions + `add a condition of type "Approved"`}},
		{"approve and deny", nil, func(s *certificatesv1.CertificateSigningRequestStatus) {
			s.Conditions = append(s.Conditions, approved, denied)
		}, []string{`status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive`}, []string{
			`status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive`,
			conditions + `add a condition of type "Approved"`, conditions + `add a condition of type "Denied"`}},
		{"take back", func(s *certificatesv1.CertificateSigningRequestStatus) { s.Conditions = append(s.Conditions, denied) },
			func(s *certificatesv1.CertificateSigningRequestStatus) { s.Conditions = nil },
			[]string{conditions + `remove a condition of type "Denied"`}, []string{conditions + `remove a condition of type "Denied"`}},
		{"false", nil, func(s *certificatesv1.CertificateSigningRequestStatus) {
			s.Conditions = append(s.Conditions, approved)
			s.Conditions[0].Status = corev1.ConditionFalse
		}, []string{`status.conditions[0].status: Unsupported value: "False": supported values: "True"`}, []string{
			`status.conditions[0].status: Unsupported value: "False": supported values: "True"`, conditions + `add a condition of type "Approved"`}},
		{"issue", nil, func(s *certificatesv1.CertificateSigningRequestStatus) { s.Certificate = cert }, nil, nil},
		{"issue again", func(s *certificatesv1.CertificateSigningRequestStatus) { s.Certificate = cert },
			func(s *certificatesv1.CertificateSigningRequestStatus) { s.Certificate = other },
			nil, []string{certificate + "modify existing certificate content"}},
		{"issue garbage", nil, func(s *certificatesv1.CertificateSigningRequestStatus) { s.Certificate = []byte("x") },
			nil, []string{`status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block`}},
		{"issue a key", nil, func(s *certificatesv1.CertificateSigningRequestStatus) {
			s.Certificate = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"})
		}, nil, []string{`status.certificate: Invalid value: "<certificate data>": only CERTIFICATE PEM blocks are allowed, found "PRIVATE KEY"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := base()
			if c.old != nil {
				c.old(&old.Status)
			}
			sent := func() *certificateRequest {
				next := old.DeepCopy()
				c.next(&next.Status)
				next.Spec.SignerName = "example.com/changed" // is ignored by every way
				return next
			}
			for way, update := range map[string]struct {
				before func(obj, old Object) []string
				want   []string
			}{
				"approval": {func(obj, old Object) []string {
					return texts(certificateSigningRequests.BeforePartUpdate(certificateSigningRequests.Subresources[0].Part, obj, old))
				}, c.approval},
				"status":    {func(obj, old Object) []string { return texts(certificateSigningRequests.BeforeStatusUpdate(obj, old)) }, c.status},
				"no detour": {func(obj, old Object) []string { return texts(certificateSigningRequests.BeforeUpdate(obj, old)) }, nil},
			} {
				next := sent()
				if diff := cmp.Diff(sorted(update.want), sorted(update.before(next, old))); diff != "" {
					t.Errorf("by %s: %s", way, diff)
				}
				if next.Spec.SignerName != "example.com/clients" {
					t.Errorf("by %s the spec was changed", way)
				}
			}
		})
	}
}

func TestCertificateRequestDates(t *testing.T) {
	base := aRequest(t)
	synctest.Test(t, func(t *testing.T) {
		old := base()
		approve := func(reason string) *certificateRequest {
			next := old.DeepCopy()
			c := condition(certificatesv1.CertificateApproved)
			c.Reason = reason
			next.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{c}
			prepareApproval(next, old)
			return next
		}
		first := approve("a")
		start := first.Status.Conditions[0].LastTransitionTime
		time.Sleep(time.Hour)
		old = first
		again := approve("b").Status.Conditions[0]
		if start.IsZero() || !again.LastTransitionTime.Equal(&start) || again.LastUpdateTime.Sub(start.Time) != time.Hour {
			t.Errorf("approved at %v, again an hour later: %+v", start, again)
		}
	})
}

func TestRequester(t *testing.T) {
	c := aRequest(t)()
	c.Spec.Username, c.Spec.Extra = "mallory", map[string]certificatesv1.ExtraValue{"a": {"b"}}
	certificateSigningRequests.Requester(c, Requester{Name: "jane", Groups: []string{"g"}})
	if c.Spec.Username != "jane" || len(c.Spec.Groups) != 1 || len(c.Spec.Extra) != 0 {
		t.Errorf("%+v", c.Spec)
	}
}

// FuzzCertificateRequest: whatever a client sends as a request or a signer sends as a
// certificate is judged, and what is accepted can be read again.
func FuzzCertificateRequest(f *testing.F) {
	f.Add(requestPEM(f, pkix.Name{CommonName: "jane", Organization: []string{"g"}}), certificatePEM(f), "example.com/x")
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"), []byte{}, "/")
	f.Fuzz(func(t *testing.T, request, cert []byte, signer string) {
		c := aCopy(request, signer)
		errs := certificateSigningRequests.BeforeCreate(c)
		if parsed, err := ParseCertificateRequest(request); err == nil {
			_ = KubeletClientRequest(parsed, c.Spec.Usages)
			_ = KubeletServingRequest(parsed, c.Spec.Usages)
		} else if len(errs) == 0 {
			t.Errorf("an unreadable request was accepted: %v", err)
		}
		next := c.DeepCopy()
		next.Status.Certificate = cert
		if errs := certificateSigningRequests.BeforeStatusUpdate(next, c); len(errs) == 0 && len(cert) > 0 {
			if block, _ := pem.Decode(cert); block == nil {
				t.Error("a certificate that is none was accepted")
			}
		}
	})
}

func aCopy(request []byte, signer string) *certificateRequest {
	return &certificateRequest{ObjectMeta: metaCluster("x"), Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: request, SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}}}
}
