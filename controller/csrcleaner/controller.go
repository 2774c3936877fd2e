// Package csrcleaner deletes certificate requests that have had their answer, or will
// get none: nodes ask again and again, and nobody reads old requests.
//
// Upstream counterpart: pkg/controller/certificates/cleaner.
//
// What flows in: CertificateSigningRequests. What flows out: deletions.
//
// Kubernetes: looks at all requests once an hour. Here each goes when it is due.
package csrcleaner

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"

	"orrery.example.org/controller/loop"
)

// Controller is the loop. Its names are those of requests.
type Controller struct {
	*loop.Loop[loop.Name]

	client   kubernetes.Interface
	requests certificateslisters.CertificateSigningRequestLister
}

// New makes the loop and says what wakes it.
func New(env loop.Env) *Controller {
	requests := env.Informers.Certificates().V1().CertificateSigningRequests()
	c := &Controller{client: env.Client, requests: requests.Lister()}
	c.Loop = loop.New("csrcleaner", env, c.sync)
	loop.Watch(c.Loop, requests.Informer(), func(_, cur *certificatesv1.CertificateSigningRequest) {
		if cur != nil {
			c.Add(loop.NameOf(cur))
		}
	})
	return c
}

// sync deletes one request if it is due, and else comes back when it will be.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	request, err := c.requests.Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	at := due(request)
	switch left := time.Until(at); {
	case at.IsZero():
		return nil
	case left > 0:
		c.AddAfter(name, left)
		return nil
	}
	err = c.client.CertificatesV1().CertificateSigningRequests().Delete(ctx, request.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &request.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("unable to delete CSR %q: %w", request.Name, err)
	}
	return nil
}
