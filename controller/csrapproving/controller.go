// Package csrapproving approves the certificate requests of nodes, so that a node can
// join and renew its certificates without anybody at hand.
//
// Upstream counterpart: pkg/controller/certificates/approver. It approves client
// certificates of nodes, where RBAC says that the requester may have one.
//
// What flows in: CertificateSigningRequests, Nodes. What flows out: the condition
// Approved. Nothing is ever denied here; what nobody approves waits for a person
// (kubectl certificate approve) until csrcleaner removes it.
//
// Kubernetes: nobody approves serving certificates there. Here, unless configured
// otherwise, they are approved if every name and address is one of the Node's.
package csrapproving

import (
	"context"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"orrery.example.org/api"
	"orrery.example.org/controller/loop"
)

// askAgain is when a request is looked at again that was not permitted: permissions
// may change, and no watch tells of that.
const askAgain = 10 * time.Second

// Options of the loop.
type Options struct {
	KubeletServing bool // approve serving certificates of nodes, too
}

// Controller is the loop. Its names are those of requests.
type Controller struct {
	*loop.Loop[loop.Name]

	client   kubernetes.Interface
	requests certificateslisters.CertificateSigningRequestLister
	nodes    corelisters.NodeLister
	options  Options
}

// New makes the loop and says what wakes it.
func New(env loop.Env, options Options) *Controller {
	requests, nodes := env.Informers.Certificates().V1().CertificateSigningRequests(), env.Informers.Core().V1().Nodes()
	c := &Controller{client: env.Client, requests: requests.Lister(), nodes: nodes.Lister(), options: options}
	c.Loop = loop.New("csrapproving", env, c.sync)
	loop.Watch(c.Loop, requests.Informer(), func(_, cur *certificatesv1.CertificateSigningRequest) {
		if cur != nil && !decided(cur) {
			c.Add(loop.NameOf(cur))
		}
	})
	if options.KubeletServing {
		loop.Watch(c.Loop, nodes.Informer(), c.nodeChanged)
	}
	return c
}

// nodeChanged has a node's requests looked at that came before its addresses.
func (c *Controller) nodeChanged(old, cur *corev1.Node) {
	if cur == nil || old != nil && equality.Semantic.DeepEqual(old.Status.Addresses, cur.Status.Addresses) {
		return
	}
	requests, err := c.requests.List(labels.Everything())
	if err != nil {
		c.Log().Error("list certificate requests", "err", err)
	}
	for _, r := range requests {
		if r.Spec.Username == nodeUserPrefix+cur.Name && !decided(r) {
			c.Add(loop.NameOf(r))
		}
	}
}

// sync decides on one request.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	request, err := c.requests.Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || decided(request) {
		return err
	}
	parsed, err := api.ParseCertificateRequest(request.Spec.Request)
	if err != nil {
		return fmt.Errorf("unable to parse csr %q: %w", request.Name, err)
	}
	if node := servingNode(request, parsed); node != "" && c.options.KubeletServing {
		object, err := c.nodes.Get(node)
		if apierrors.IsNotFound(err) {
			return nil // it wakes us when it registers
		}
		if err != nil {
			return err
		}
		if foreign := foreignName(parsed, object); foreign != "" {
			c.Log().Warn("a node asks for a serving certificate with a name that is not its own", "request", request.Name, "node", node, "name", foreign)
			return nil
		}
		return c.approve(ctx, request, "Auto approving kubelet serving certificate for the addresses of the Node.")
	}
	asked := rights(request, parsed)
	for _, r := range asked {
		permitted, err := c.permitted(ctx, request, r)
		if err != nil {
			return fmt.Errorf("ask whether %s may have certificate request %s approved: %w", request.Spec.Username, request.Name, err)
		}
		if permitted {
			return c.approve(ctx, request, r.message)
		}
	}
	if len(asked) > 0 {
		c.Log().Debug("recognized csr but subject access review was not approved", "request", request.Name)
		c.AddAfter(name, askAgain)
	}
	return nil
}

// permitted asks the API server about the requester.
func (c *Controller) permitted(ctx context.Context, request *certificatesv1.CertificateSigningRequest, r right) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: request.Spec.Username, UID: request.Spec.UID, Groups: request.Spec.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "create", Group: certificatesv1.GroupName, Version: "*", Resource: "certificatesigningrequests", Subresource: r.subresource,
		},
	}
	for key, values := range request.Spec.Extra {
		spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: spec}
	answer, err := c.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}

func (c *Controller) approve(ctx context.Context, request *certificatesv1.CertificateSigningRequest, message string) error {
	approved := request.DeepCopy()
	approved.Status.Conditions = append(approved.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: message,
	})
	_, err := c.client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, request.Name, approved, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("approve certificate request %s: %w", request.Name, err)
	}
	return nil
}
