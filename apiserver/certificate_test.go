package apiserver

import (
	"context"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/apiserver/auth"
	"orrery.example.org/pki"
)

// requestFor asks for a certificate with a key of its own.
func requestFor(t *testing.T, r pki.Request) []byte {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.NewRequest(key, r)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// TestCertificateRequest: the server says who asks, and each of the two paths changes
// its own part only.
func TestCertificateRequest(t *testing.T) {
	c := start(t)
	requests := c.client().CertificatesV1().CertificateSigningRequests()
	made, err := requests.Create(t.Context(), &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "r-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Username: "mallory", Groups: []string{"all"}, Extra: map[string]certificatesv1.ExtraValue{"a": {"b"}},
			Request: requestFor(t, pki.Request{User: "x"}), SignerName: "example.com/s", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
		Status: certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{
			{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s := made.Spec; s.Username != "kubernetes-admin" || strings.Join(s.Groups, " ") != "system:masters system:authenticated" || s.Extra["authentication.kubernetes.io/credential-id"] == nil || len(made.Status.Conditions) > 0 {
		t.Errorf("created: %+v %+v", s, made.Status)
	}
	made.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"}}
	if _, err := requests.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `updates may not add a condition of type "Approved"`) {
		t.Errorf("approved through /status: %v", err)
	}
	made.Status.Certificate = []byte("x")
	approved, err := requests.UpdateApproval(t.Context(), made.Name, made, metav1.UpdateOptions{})
	if err != nil || len(approved.Status.Certificate) > 0 || len(approved.Status.Conditions) != 1 || approved.Status.Conditions[0].LastUpdateTime.IsZero() {
		t.Errorf("approved: %v, %+v", err, approved)
	}
	approved.Status.Conditions = nil
	if _, err := requests.UpdateApproval(t.Context(), made.Name, approved, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("the approval was taken back: %v", err)
	}
	if list, err := requests.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.signerName=example.com/s"}); err != nil || len(list.Items) != 1 {
		t.Errorf("by signer: %v, %d", err, len(list.Items))
	}
}

// noSigner lets everybody do everything but what signers are for.
type noSigner struct{}

func (noSigner) Authorize(_ context.Context, a auth.Attributes) (bool, string, error) {
	return a.Resource != "signers", "", nil
}

// TestSignerRights: the right to write to a subresource is not enough.
func TestSignerRights(t *testing.T) {
	c := start(t, func(cfg *Config) { cfg.Authorizer = noSigner{} })
	requests := c.client().CertificatesV1().CertificateSigningRequests()
	made, err := requests.Create(t.Context(), &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "r"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: requestFor(t, pki.Request{User: "x"}), SignerName: "example.com/s", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue}}
	_, err = requests.UpdateApproval(t.Context(), "r", made, metav1.UpdateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `user not permitted to approve requests with signerName "example.com/s"`) {
		t.Errorf("deny: %v", err)
	}
	made.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue}}
	_, err = requests.UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `user not permitted to sign requests with signerName "example.com/s"`) {
		t.Errorf("fail: %v", err)
	}
}
