package admission

import (
	"bytes"
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// certificateSigning lets those issue a certificate, or say that it failed, who may
// sign for the request's signer: the verb sign on signers.
func certificateSigning(ctx context.Context, a *Attributes) error {
	old := certificateRequest(a, "status")
	if old == nil {
		return nil
	}
	next := a.Object.(*certificatesv1.CertificateSigningRequest)
	same := bytes.Equal(old.Status.Certificate, next.Status.Certificate) &&
		equality.Semantic.DeepEqual(old.Status.Conditions, next.Status.Conditions)
	if same || maySigner(ctx, a, "sign", old.Spec.SignerName) {
		return nil
	}
	return forbidden(a, fmt.Errorf("user not permitted to sign requests with signerName %q", old.Spec.SignerName))
}
