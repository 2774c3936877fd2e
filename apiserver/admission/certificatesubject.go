package admission

import (
	"context"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
)

// certificateSubjectRestriction keeps system:masters out of requests: a certificate for
// that group would be beyond what RBAC could ever take back.
func certificateSubjectRestriction(_ context.Context, a *Attributes) error {
	request, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || a.Operation != Create || a.Subresource != "" || request.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := api.ParseCertificateRequest(request.Spec.Request)
	switch {
	case err != nil:
		return forbidden(a, fmt.Errorf("failed to parse CSR: %w", err))
	case slices.Contains(parsed.Subject.Organization, auth.GroupMasters):
		return forbidden(a, fmt.Errorf("use of %s signer with system:masters group is not allowed", request.Spec.SignerName))
	}
	return nil
}
