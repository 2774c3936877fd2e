package apiserver

import (
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/admission"
	"orrery.example.org/apiserver/auth"
)

// Some kinds are questions: a client creates one, the answer is its status, and nothing
// is stored. Such a kind has a row in api/ like all others (Kind.Stored says no) and a
// line here. Everything around the answer, from decoding to admission, is the same as
// for objects that are kept.

// answers fill in what is asked.
var answers = map[schema.GroupResource]answer{
	{Group: authenticationv1.GroupName, Resource: "selfsubjectreviews"}:       (*handlers).selfSubjectReview,
	{Group: authenticationv1.GroupName, Resource: "tokenreviews"}:             (*handlers).tokenReview,
	{Group: authorizationv1.GroupName, Resource: "subjectaccessreviews"}:      (*handlers).subjectAccessReview,
	{Group: authorizationv1.GroupName, Resource: "localsubjectaccessreviews"}: (*handlers).localSubjectAccessReview,
	{Group: authorizationv1.GroupName, Resource: "selfsubjectaccessreviews"}:  (*handlers).selfSubjectAccessReview,
	{Group: authorizationv1.GroupName, Resource: "selfsubjectrulesreviews"}:   (*handlers).selfSubjectRulesReview,
}

// answer gives back the question, which it may change, with its answer.
type answer func(h *handlers, c *call, question api.Object) (api.Object, error)

// ask is the verb create of the kinds that are not stored. ?dryRun is taken and makes no
// difference, as upstream: there is nothing to leave out.
func (h *handlers) ask(c *call) error {
	give := answers[c.kind.GroupResource()]
	if give == nil {
		return errMethodNotAllowed()
	}
	return h.review(c, c.version, c.kind.Validate, give)
}

// review decodes and admits a question of the given version, and writes its answer.
//
// Kubernetes: the answer shows managedFields. The schema that tracks them here is
// client-go's, which doesn't have what nobody applies.
func (h *handlers) review(c *call, v *api.Version, check func(api.Object) field.ErrorList, give answer) error {
	o, err := c.createOptions()
	if err != nil {
		return err
	}
	question, err := c.decodeBody(v, o.fieldValidation)
	if err != nil {
		return err
	}
	if err := adopt(question, c.namespace); err != nil {
		return err
	}
	a := h.admission(c, admission.Create, question, nil, o.dryRun)
	if err := admission.Admit(c.ctx(), a); err != nil {
		return err
	}
	if check != nil {
		if errs := check(question); len(errs) > 0 {
			kind := v.GroupKind()
			if kind.Group == authorizationv1.GroupName {
				kind.Kind = "" // upstream looks for it where it isn't any more
			}
			return apierrors.NewInvalid(kind, "", errs)
		}
	}
	if err := admission.Validate(c.ctx(), a); err != nil {
		return err
	}
	answered, err := give(h, c, question)
	if err != nil {
		return err
	}
	return c.respondObject(http.StatusCreated, answered, v.GroupVersionKind)
}

// selfSubjectReview says who the client is. Nothing of the question is kept.
func (h *handlers) selfSubjectReview(c *call, _ api.Object) (api.Object, error) {
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(time.Now())},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(c.user)},
	}, nil
}

// userInfo is a user as the API describes him.
func userInfo(u *auth.User) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	for key, values := range u.Extra {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[key] = values
	}
	return info
}
