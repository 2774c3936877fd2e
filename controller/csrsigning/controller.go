// Package csrsigning issues the certificates that approved requests ask for: it is the
// signers kubernetes.io/kube-apiserver-client, kube-apiserver-client-kubelet,
// kubelet-serving and legacy-unknown. Signers of other names are other people's.
//
// Upstream counterpart: pkg/controller/certificates/signer, which is one loop for each
// of the four.
//
// What flows in: CertificateSigningRequests, the CA with its key. What flows out: the
// certificate in the status, or the condition Failed where the request breaks its
// signer's rules.
package csrsigning

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"

	"orrery.example.org/api"
	"orrery.example.org/controller/loop"
	"orrery.example.org/pki"
)

// Options of the loop.
type Options struct {
	CA     func() (*pki.CA, error) // asked for each certificate; nil: nobody signs
	MaxTTL time.Duration
}

// Controller is the loop. Its names are those of requests.
type Controller struct {
	*loop.Loop[loop.Name]

	client   kubernetes.Interface
	requests certificateslisters.CertificateSigningRequestLister
	options  Options
}

// New makes the loop and says what wakes it.
func New(env loop.Env, options Options) *Controller {
	requests := env.Informers.Certificates().V1().CertificateSigningRequests()
	c := &Controller{client: env.Client, requests: requests.Lister(), options: options}
	c.Loop = loop.New("csrsigning", env, c.sync)
	if options.CA == nil {
		c.Log().Info("certificate requests are not signed: no cluster-signing-cert-file was specified")
		return c
	}
	loop.Watch(c.Loop, requests.Informer(), func(_, cur *certificatesv1.CertificateSigningRequest) {
		if cur != nil && toSign(cur) {
			c.Add(loop.NameOf(cur))
		}
	})
	return c
}

// sync signs one request, if it is to be signed.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	request, err := c.requests.Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || !toSign(request) {
		return err
	}
	answered := request.DeepCopy()
	if err := c.answer(answered); err != nil {
		return fmt.Errorf("sign certificate request %s: %w", request.Name, err)
	}
	_, err = c.client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, answered, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("answer certificate request %s: %w", request.Name, err)
	}
	return nil
}

// answer puts the certificate into the request, or why there will be none.
func (c *Controller) answer(request *certificatesv1.CertificateSigningRequest) error {
	parsed, err := api.ParseCertificateRequest(request.Spec.Request)
	if err != nil {
		return err
	}
	if err := signers[request.Spec.SignerName](parsed, request.Spec.Usages); err != nil {
		request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: err.Error(),
		})
		return nil
	}
	t, err := terms(&request.Spec, c.options.MaxTTL)
	if err != nil {
		return err
	}
	ca, err := c.options.CA()
	if err != nil {
		return err
	}
	request.Status.Certificate, err = ca.Sign(parsed, t)
	return err
}
