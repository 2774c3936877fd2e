package apiserver

import (
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
)

// Tokens of ServiceAccounts are made on request (serviceaccounts/NAME/token), for a
// time, and mostly for one Pod. Nothing of them is stored: the signature says that this
// server made them, and what they are bound to says how long they count.

var tokenRequest = &api.Version{
	GroupVersionKind: authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"),
	New:              func() api.Object { return &authenticationv1.TokenRequest{} },
}

// The lifetime of a Pod's token, as its volume asks for it, and what it is given
// instead: programs exist that read the file only once. Its use is then noted (warnafter)
// when it should have been renewed.
const (
	podTokenSeconds      = 3607
	extendedTokenSeconds = 365 * 24 * 3600
)

// token is the verb create of serviceaccounts/token.
func (h *handlers) token(c *call) error {
	return h.review(c, tokenRequest, nil, (*handlers).issueToken)
}

// issueToken answers a TokenRequest.
func (h *handlers) issueToken(c *call, question api.Object) (api.Object, error) {
	req := question.(*authenticationv1.TokenRequest)
	if req.Name != "" && req.Name != c.name {
		return nil, apierrors.NewInvalid(tokenRequest.GroupKind(), c.name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "name"), req.Name, "must match the service account name if specified")})
	}
	account, err := h.Get(c.ctx(), c.kind.GroupResource(), c.namespace, c.name)
	if err != nil {
		return nil, err
	}
	if req.UID != "" && req.UID != account.GetUID() {
		return nil, apierrors.NewConflict(tokenKind, c.name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", req.UID, account.GetUID()))
	}
	now := time.Now()
	req.Name, req.UID, req.CreationTimestamp = c.name, account.GetUID(), metav1.NewTime(now)
	completeTokenRequest(&req.Spec, h.issuer.Audiences)
	if errs := checkTokenRequest(&req.Spec); len(errs) > 0 {
		return nil, apierrors.NewInvalid(tokenRequest.GroupKind(), "", errs)
	}
	binding := auth.Binding{Namespace: c.namespace, Account: auth.Ref{Name: c.name, UID: account.GetUID()}}
	if err := h.bindToken(c, &binding, req.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	lifetime, warnAfter := tokenLifetime(&req.Spec, binding.Pod != nil, h.issuer.Audiences)
	token, err := h.issuer.Issue(binding, req.Spec.Audiences, now, lifetime, warnAfter)
	if err != nil {
		return nil, err
	}
	req.Status = authenticationv1.TokenRequestStatus{
		Token:               token,
		ExpirationTimestamp: metav1.NewTime(now.Add(time.Duration(*req.Spec.ExpirationSeconds) * time.Second)),
	}
	return req, nil
}

var tokenKind = schema.GroupResource{Group: authenticationv1.GroupName, Resource: "TokenRequest"} // sic

// completeTokenRequest fills in what the client left out.
func completeTokenRequest(spec *authenticationv1.TokenRequestSpec, audiences []string) {
	if len(spec.Audiences) == 0 {
		spec.Audiences = audiences
	}
	if spec.ExpirationSeconds == nil {
		spec.ExpirationSeconds = new(int64(3600))
	}
}

func checkTokenRequest(spec *authenticationv1.TokenRequestSpec) field.ErrorList {
	var errs field.ErrorList
	seconds, at := *spec.ExpirationSeconds, field.NewPath("spec", "expirationSeconds")
	if seconds < 10*60 {
		errs = append(errs, field.Invalid(at, seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > 1<<32 {
		errs = append(errs, field.Invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if len(spec.Attestations) > 0 {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "attestations"), spec.Attestations,
			"attestations may only be specified with a webhook bound object reference")}
	}
	return errs
}

// tokenLifetime is how long a token is good, and when its use becomes worth noting.
func tokenLifetime(spec *authenticationv1.TokenRequestSpec, pod bool, ours []string) (lifetime, warnAfter time.Duration) {
	lifetime = time.Duration(*spec.ExpirationSeconds) * time.Second
	foreign := slices.ContainsFunc(spec.Audiences, func(a string) bool { return !slices.Contains(ours, a) })
	if pod && *spec.ExpirationSeconds == podTokenSeconds && !foreign {
		return extendedTokenSeconds * time.Second, lifetime
	}
	return lifetime, 0
}

// bindToken finds the object that the token shall not survive.
func (h *handlers) bindToken(c *call, b *auth.Binding, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	find := func(resource, namespace string) (api.Object, *auth.Ref, error) {
		o, err := h.Get(c.ctx(), schema.GroupResource{Resource: resource}, namespace, ref.Name)
		if err != nil {
			return nil, nil, err
		}
		return o, &auth.Ref{Name: ref.Name, UID: o.GetUID()}, sameUID(gvk, ref.Name, ref.UID, o.GetUID())
	}
	var err error
	switch (schema.GroupKind{Group: gvk.Group, Kind: gvk.Kind}) {
	case schema.GroupKind{Kind: "Pod"}:
		var o api.Object
		if o, b.Pod, err = find("pods", c.namespace); err != nil {
			return err
		}
		pod := o.(*corev1.Pod)
		if pod.Spec.ServiceAccountName != c.name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", c.name))
		}
		b.Node, err = h.nodeOf(c, pod)
	case schema.GroupKind{Kind: "Secret"}:
		_, b.Secret, err = find("secrets", c.namespace)
	case schema.GroupKind{Kind: "Node"}:
		_, b.Node, err = find("nodes", "")
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk))
	}
	return err
}

// nodeOf is where the Pod runs, nil if nowhere yet. The node may not be registered.
func (h *handlers) nodeOf(c *call, pod *corev1.Pod) (*auth.Ref, error) {
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	ref := &auth.Ref{Name: pod.Spec.NodeName}
	node, err := h.Get(c.ctx(), schema.GroupResource{Resource: "nodes"}, "", ref.Name)
	if apierrors.IsNotFound(err) {
		return ref, nil
	}
	if err != nil {
		return nil, err
	}
	ref.UID = node.GetUID()
	return ref, nil
}

func sameUID(gvk schema.GroupVersionKind, name string, want, have types.UID) error {
	if want == "" || want == have {
		return nil
	}
	return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, name, fmt.Errorf(
		"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", want))
}

// tokenReview says whose token it is.
func (h *handlers) tokenReview(c *call, question api.Object) (api.Object, error) {
	review := question.(*authenticationv1.TokenReview)
	if review.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	audiences := review.Spec.Audiences
	if len(audiences) == 0 {
		audiences = h.tokens.Audiences
	}
	review.Status = authenticationv1.TokenReviewStatus{}
	user, matched, err := h.tokens.AuthenticateToken(c.ctx(), review.Spec.Token, audiences)
	if err != nil {
		review.Status.Error = err.Error()
		return review, nil
	}
	review.Status.Authenticated, review.Status.User, review.Status.Audiences = true, userInfo(user), matched
	return review, nil
}
