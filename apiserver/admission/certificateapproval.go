package admission

import (
	"context"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"

	"orrery.example.org/apiserver/auth"
)

// certificateRequest is the request that an update by way of a subresource is about, as
// it is stored: who is asked what he may must not be told by what he sent. nil if a
// does something else.
func certificateRequest(a *Attributes, subresource string) *certificatesv1.CertificateSigningRequest {
	if a.Operation != Update || a.Subresource != subresource {
		return nil
	}
	old, _ := a.Old.(*certificatesv1.CertificateSigningRequest)
	return old
}

// certificateApproval lets those approve or deny a request who may approve for its
// signer. RBAC grants that as the verb approve on signers, apart from the right to
// write to /approval.
func certificateApproval(ctx context.Context, a *Attributes) error {
	old := certificateRequest(a, "approval")
	if old == nil || maySigner(ctx, a, "approve", old.Spec.SignerName) {
		return nil
	}
	return forbidden(a, fmt.Errorf("user not permitted to approve requests with signerName %q", old.Spec.SignerName))
}

// maySigner asks whether the user has the verb on the signer, or on all of its domain:
// "kubernetes.io/*".
func maySigner(ctx context.Context, a *Attributes, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		allowed, _, err := a.Authorizer.Authorize(ctx, auth.Attributes{
			User: a.User, Verb: verb, Group: certificatesv1.GroupName, Version: "*", Resource: "signers", Name: name,
		})
		if err == nil && allowed { // an error is no permission
			return true
		}
	}
	return false
}
