package apiserver

import (
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/pki"
)

// TestAccessReviews: what is answered is what would happen.
func TestAccessReviews(t *testing.T) {
	c := start(t, func(cfg *Config) { cfg.AuthorizationMode = []string{"Node", "RBAC"} })
	ctx := t.Context()
	reviews, jane := c.client().AuthorizationV1(), c.known(pki.Request{User: "jane"})
	pods := func(verb string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Verb: verb, Resource: "pods"}
	}
	selecting := pods("list")
	selecting.FieldSelector = &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{
		{Key: "spec.nodeName", Operator: metav1.FieldSelectorOpIn, Values: []string{"n1"}}}}
	unread := pods("list")
	unread.FieldSelector = &authorizationv1.FieldSelectorAttributes{RawSelector: "a"}
	agent := []string{"system:nodes"}
	for _, r := range []struct {
		name    string
		spec    authorizationv1.SubjectAccessReviewSpec
		allowed bool
		reason  string
	}{
		{"health", authorizationv1.SubjectAccessReviewSpec{Groups: []string{"system:unauthenticated"}, NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/healthz"}},
			true, `RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole "system:public-info-viewer" to Group "system:unauthenticated"`},
		{"a stranger", authorizationv1.SubjectAccessReviewSpec{User: "eve", ResourceAttributes: pods("list")}, false, ""},
		{"no resource, which isn't a path", authorizationv1.SubjectAccessReviewSpec{Groups: []string{"system:unauthenticated"}, ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get"}}, false, ""},
		{"no resource, of who may read all", authorizationv1.SubjectAccessReviewSpec{User: "system:kube-controller-manager", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list"}}, true,
			`RBAC: allowed by ClusterRoleBinding "system:kube-controller-manager" of ClusterRole "system:kube-controller-manager" to User "system:kube-controller-manager"`},
		{"a scheduler", authorizationv1.SubjectAccessReviewSpec{User: "system:kube-scheduler", ResourceAttributes: pods("delete")}, true,
			`RBAC: allowed by ClusterRoleBinding "system:kube-scheduler" of ClusterRole "system:kube-scheduler" to User "system:kube-scheduler"`},
		{"a node, its Pods", authorizationv1.SubjectAccessReviewSpec{User: "system:node:n1", Groups: agent, ResourceAttributes: selecting}, true, ""},
		{"a node, others' Pods", authorizationv1.SubjectAccessReviewSpec{User: "system:node:n2", Groups: agent, ResourceAttributes: selecting}, false, "node: can only list/watch pods with spec.nodeName field selector"},
		{"an unreadable selector", authorizationv1.SubjectAccessReviewSpec{User: "system:node:n1", Groups: agent, ResourceAttributes: unread}, false, "node: can only list/watch pods with spec.nodeName field selector"},
	} {
		got, err := reviews.SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: r.spec}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(r.name, err)
		}
		if got.Status.Allowed != r.allowed || got.Status.Reason != r.reason || (got.Status.EvaluationError != "") != (r.spec.ResourceAttributes == unread) {
			t.Errorf("%s: %+v", r.name, got.Status)
		}
	}
	_, err := reviews.SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
	wantRefusal(t, err, `at least one of user or group must be specified`)
	_, err = reviews.LocalSubjectAccessReviews("default").Create(ctx, &authorizationv1.LocalSubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: "eve", ResourceAttributes: pods("list")}}, metav1.CreateOptions{})
	wantRefusal(t, err, `spec.resourceAttributes.namespace: Invalid value: "": must match metadata.namespace`)

	self, err := jane.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx,
		&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("get")}}, metav1.CreateOptions{})
	if err != nil || self.Status.Allowed {
		t.Error(self, err)
	}
	rules, err := jane.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	if err != nil || rules.Status.Incomplete || len(rules.Status.ResourceRules) != 2 || len(rules.Status.NonResourceRules) != 2 ||
		!strings.Contains(rules.Status.String(), "selfsubjectrulesreviews") {
		t.Errorf("%+v %v", rules, err)
	}
}
