package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/auth/node"
)

// subjectAccessReview answers whether somebody may do something.
func (h *handlers) subjectAccessReview(c *call, question api.Object) (api.Object, error) {
	r := question.(*authorizationv1.SubjectAccessReview)
	r.Status = h.access(c.ctx(), subject(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return r, nil
}

// localSubjectAccessReview is the same for one namespace, for who may ask only there.
func (h *handlers) localSubjectAccessReview(c *call, question api.Object) (api.Object, error) {
	r := question.(*authorizationv1.LocalSubjectAccessReview)
	r.Status = h.access(c.ctx(), subject(&r.Spec), r.Spec.ResourceAttributes, nil)
	return r, nil
}

// selfSubjectAccessReview is the same about who asks.
func (h *handlers) selfSubjectAccessReview(c *call, question api.Object) (api.Object, error) {
	r := question.(*authorizationv1.SelfSubjectAccessReview)
	r.Status = h.access(c.ctx(), c.user, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return r, nil
}

func subject(s *authorizationv1.SubjectAccessReviewSpec) *auth.User {
	u := &auth.User{Name: s.User, UID: s.UID, Groups: s.Groups}
	for key, values := range s.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[key] = values
	}
	return u
}

// access asks the authorizer what the client asks. A selector that cannot be read is told
// as an error and asked for without: that asks for more, and may be refused.
func (h *handlers) access(ctx context.Context, who *auth.User, r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	var (
		a      auth.Attributes
		failed []string
	)
	if r != nil {
		a = auth.Attributes{Verb: r.Verb, Namespace: r.Namespace, Group: r.Group, Version: r.Version, Resource: r.Resource, Subresource: r.Subresource, Name: r.Name, Unnamed: r.Resource == ""}
		if a.Version == "" {
			a.Version = "*"
		}
		var fieldErr, labelErr error
		a.FieldSelector, fieldErr = fieldRequirements(r.FieldSelector)
		a.LabelSelector, labelErr = labelRequirements(r.LabelSelector)
		failed = append(unread("fieldSelector", len(a.FieldSelector), fieldErr), unread("labelSelector", len(a.LabelSelector), labelErr)...)
	} else {
		a = auth.Attributes{Verb: n.Verb, Path: n.Path}
	}
	a.User = who
	allowed, reason, err := h.authz.Authorize(ctx, a)
	if err != nil {
		failed = append([]string{err.Error()}, failed...)
	}
	return authorizationv1.SubjectAccessReviewStatus{Allowed: allowed, Reason: reason, EvaluationError: strings.Join(failed, "; ")}
}

// unread says that a selector, or a part of it, was left out.
func unread(what string, kept int, err error) []string {
	switch {
	case err == nil:
		return nil
	case kept > 0:
		what += " partially"
	}
	return []string{"spec.resourceAttributes." + what + " ignored due to parse error"}
}

func fieldRequirements(s *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	if s == nil {
		return nil, nil
	}
	if s.RawSelector != "" {
		parsed, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return nil, err
		}
		return parsed.Requirements(), nil
	}
	var (
		all  fields.Requirements
		errs []error
	)
	for _, q := range s.Requirements {
		operator, known := map[metav1.FieldSelectorOperator]selection.Operator{
			metav1.FieldSelectorOpIn: selection.Equals, metav1.FieldSelectorOpNotIn: selection.NotEquals}[q.Operator]
		if !known || len(q.Values) != 1 {
			errs = append(errs, fmt.Errorf("%s %s %v is not supported", q.Key, q.Operator, q.Values))
			continue
		}
		all = append(all, fields.Requirement{Field: q.Key, Operator: operator, Value: q.Values[0]})
	}
	return all, utilerrors.NewAggregate(errs)
}

func labelRequirements(s *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	if s == nil {
		return nil, nil
	}
	if s.RawSelector != "" {
		parsed, err := labels.Parse(s.RawSelector)
		if err != nil {
			return nil, err
		}
		all, _ := parsed.Requirements()
		return all, nil
	}
	var (
		all  labels.Requirements
		errs []error
	)
	for _, q := range s.Requirements {
		parsed, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{q}})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		more, _ := parsed.Requirements()
		all = append(all, more...)
	}
	return all, utilerrors.NewAggregate(errs)
}

// selfSubjectRulesReview lists what who asks may do in a namespace.
func (h *handlers) selfSubjectRulesReview(c *call, question api.Object) (api.Object, error) {
	namespace := question.(*authorizationv1.SelfSubjectRulesReview).Spec.Namespace
	if namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	status := authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	rules, incomplete, err := h.rulesFor(c.user, namespace)
	for _, r := range rules {
		if len(r.Resources) > 0 {
			status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
				Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames})
		}
		if len(r.NonResourceURLs) > 0 {
			status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	status.Incomplete = incomplete
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return &authorizationv1.SelfSubjectRulesReview{Status: status}, nil
}

// rulesFor asks each mode of authorization what the user may do. Of nodes nobody can say.
func (h *handlers) rulesFor(user *auth.User, namespace string) (rules []rbacv1.PolicyRule, incomplete bool, err error) {
	for _, mode := range h.modes {
		switch _, agent := node.Name(user); {
		case mode == "AlwaysAllow":
			rules = append(rules, everything...)
		case mode == "Node" && agent:
			incomplete = true
			err = errors.New("node authorizer does not support user rule resolution")
		case mode == "RBAC":
			found, unresolved := h.rules.RulesFor(user, namespace)
			rules, err = append(rules, found...), errors.Join(err, unresolved)
		}
	}
	return rules, incomplete, err
}
