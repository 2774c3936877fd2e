package api

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type certificateRequest = certificatesv1.CertificateSigningRequest

// A request is written once, by who wants a certificate, and from then on only by its
// two subresources: somebody approves or denies it, and a signer puts the certificate
// into the status.
var certificateSigningRequests = define(Kind{
	Versions: []Version{version[certificateRequest, certificatesv1.CertificateSigningRequestList](
		certificatesv1.SchemeGroupVersion, "CertificateSigningRequest")},
	Resource:   "certificatesigningrequests",
	Singular:   "certificatesigningrequest",
	ShortNames: []string{"csr"},
	Subresources: []Subresource{{
		Name: "approval", Verbs: []string{"get", "patch", "update"},
		Part: &Part{
			Prepare: func(next, old Object) { prepareApproval(next.(*certificateRequest), old.(*certificateRequest)) },
			Validate: func(next, old Object) field.ErrorList {
				return validateApproval(next.(*certificateRequest), old.(*certificateRequest))
			},
		},
	}},
	ValidateName: func(string, bool) []string { return nil }, // upstream does not care either
	Requester:    func(o Object, who Requester) { requestedBy(o.(*certificateRequest), who) },
	Columns: []Column{
		nameColumn(),
		ageColumn(),
		column("SignerName", doc(certificatesv1beta1.CertificateSigningRequestSpec{}, "signerName"),
			func(c *certificateRequest) string { return orNone(c.Spec.SignerName) }),
		column("Requestor", doc(certificatesv1beta1.CertificateSigningRequestSpec{}, "request"),
			func(c *certificateRequest) string { return c.Spec.Username }),
		column("RequestedDuration", doc(certificatesv1beta1.CertificateSigningRequestSpec{}, "expirationSeconds"), requestedDuration),
		column("Condition", doc(certificatesv1beta1.CertificateSigningRequestStatus{}, "conditions"), certificateState),
	},
}, Rules[certificateRequest]{
	Status:         func(c *certificateRequest) any { return &c.Status },
	PrepareUpdate:  func(c, old *certificateRequest) { c.Spec = old.Spec },
	PrepareStatus:  prepareSigning,
	Validate:       validateCertificateRequest,
	ValidateUpdate: validateCertificateRequestUpdate,
	ValidateStatus: validateSigning,
	Fields: func(c *certificateRequest) fields.Set {
		return fields.Set{"spec.signerName": c.Spec.SignerName}
	},
})

// requestedBy notes who asks, whatever the object says: approvers rely on it.
func requestedBy(c *certificateRequest, who Requester) {
	c.Spec.Username, c.Spec.UID, c.Spec.Groups, c.Spec.Extra = who.Name, who.UID, who.Groups, nil
	for key, values := range who.Extra {
		if c.Spec.Extra == nil {
			c.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		c.Spec.Extra[key] = values
	}
}

// prepareApproval lets only the conditions change.
func prepareApproval(c, old *certificateRequest) {
	dateConditions(c, old)
	conditions := c.Status.Conditions
	c.Spec, c.Status = old.Spec, old.Status
	c.Status.Conditions = conditions
}

// prepareSigning keeps the conditions that the approver wrote, where the signer has
// them still; that he added or lost one is for validation to say.
func prepareSigning(c, old *certificateRequest) {
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		had, has := conditionsOf(old, t), conditionsOf(c, t)
		if len(had) != len(has) {
			continue
		}
		for i := range had {
			*has[i] = *had[i]
		}
	}
	dateConditions(c, old)
}

// dateConditions fills in when a condition was written and since when it holds.
func dateConditions(c, old *certificateRequest) {
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	for i := range c.Status.Conditions {
		cond := &c.Status.Conditions[i]
		if cond.LastUpdateTime.IsZero() {
			cond.LastUpdateTime = now
		}
		if !cond.LastTransitionTime.IsZero() {
			continue
		}
		cond.LastTransitionTime = now
		for _, had := range conditionsOf(old, cond.Type) {
			if had.Status == cond.Status && !had.LastTransitionTime.IsZero() {
				cond.LastTransitionTime = had.LastTransitionTime
				break
			}
		}
	}
}

// conditionsOf are the request's conditions of a type, to be read or written.
func conditionsOf(c *certificateRequest, t certificatesv1.RequestConditionType) []*certificatesv1.CertificateSigningRequestCondition {
	var found []*certificatesv1.CertificateSigningRequestCondition
	for i := range c.Status.Conditions {
		if c.Status.Conditions[i].Type == t {
			found = append(found, &c.Status.Conditions[i])
		}
	}
	return found
}

// CertificateRequestIs says whether a request has a condition: it is Approved, Denied
// or Failed.
func CertificateRequestIs(c *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) bool {
	return len(conditionsOf(c, t)) > 0
}

func requestedDuration(c *certificateRequest) string {
	if c.Spec.ExpirationSeconds == nil {
		return none
	}
	return duration.HumanDuration(time.Duration(*c.Spec.ExpirationSeconds) * time.Second)
}

// certificateState is how far the request has come: "Approved,Issued".
func certificateState(c *certificateRequest) string {
	state := "Pending"
	switch {
	case CertificateRequestIs(c, certificatesv1.CertificateDenied):
		state = "Denied"
	case CertificateRequestIs(c, certificatesv1.CertificateApproved):
		state = "Approved"
	}
	if CertificateRequestIs(c, certificatesv1.CertificateFailed) {
		state += ",Failed"
	}
	if len(c.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}
