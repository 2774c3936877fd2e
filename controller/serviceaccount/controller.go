// Package serviceaccount gives each namespace what its Pods need to talk to the API
// server: the ServiceAccount `default`, whom they are when nothing else is said, and
// the ConfigMap kube-root-ca.crt, by which they know the server.
//
// Upstream counterparts: pkg/controller/serviceaccount and
// pkg/controller/certificates/rootcacertpublisher.
//
// What flows in: Namespaces, and the changes of these two objects. What flows out: the
// two objects, made anew when somebody deletes them; the ConfigMap is mended too.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/resources"
)

// The objects' names, which Pods' volumes refer to.
const (
	defaultAccount = "default"
	rootCA         = "kube-root-ca.crt"
)

// Controller is the loop. Its names are those of namespaces.
type Controller struct {
	*loop.Loop[loop.Name]

	client     kubernetes.Interface
	namespaces corelisters.NamespaceLister
	publisher  Publisher
}

// Publisher is who puts the CA's certificate, in PEM, into namespaces. Without one no
// ConfigMap is made.
type Publisher struct {
	CA             []byte
	Reader, Writer kubernetes.Interface // upstream's account for this may not read
}

// New makes the loop and says what wakes it.
func New(env loop.Env, catalog *resources.Catalog, publisher Publisher) (*Controller, error) {
	namespaces := env.Informers.Core().V1().Namespaces()
	c := &Controller{client: env.Client, namespaces: namespaces.Lister(), publisher: publisher}
	c.Loop = loop.New("serviceaccount", env, c.sync)
	loop.Watch(c.Loop, namespaces.Informer(), func(old, cur *corev1.Namespace) {
		if old == nil {
			c.Add(loop.NameOf(cur))
		}
	})
	for kind, name := range map[string]string{"ServiceAccount": defaultAccount, "ConfigMap": rootCA} {
		r := catalog.ByKind("v1", kind)
		if r == nil || r.Informer == nil {
			return nil, fmt.Errorf("the API server serves no kind %s that can be watched", kind)
		}
		// Additions need no look: they are our own, or replace what we would have made.
		c.Follow(r.Informer, cache.ResourceEventHandlerFuncs{
			UpdateFunc: func(_, obj any) { c.touched(obj, name) },
			DeleteFunc: func(obj any) { c.touched(obj, name) },
		})
	}
	return c, nil
}

// touched has the namespace looked at if the object that changed is one of ours.
func (c *Controller) touched(obj any, name string) {
	key, err := cache.DeletionHandlingObjectToName(obj)
	if err == nil && key.Name == name {
		c.Add(loop.Name{Name: key.Namespace})
	}
}

// sync makes and mends the two objects of one namespace.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	ns, err := c.namespaces.Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return err
	}
	account := c.account(ctx, ns.Name)
	if len(c.publisher.CA) == 0 {
		return account
	}
	return errors.Join(account, c.certificate(ctx, ns.Name))
}

func (c *Controller) account(ctx context.Context, namespace string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: defaultAccount}}
	_, err := c.client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	return settled("make the default ServiceAccount of", namespace, err)
}

// certificate compares the ConfigMap itself: the informer knows its metadata only.
func (c *Controller) certificate(ctx context.Context, namespace string) error {
	client := c.publisher.Writer.CoreV1().ConfigMaps(namespace)
	want := map[string]string{"ca.crt": string(c.publisher.CA)}
	have, err := c.publisher.Reader.CoreV1().ConfigMaps(namespace).Get(ctx, rootCA, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = client.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Name: rootCA,
				Annotations: map[string]string{"kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
					"No other usage is guaranteed across distributions of Kubernetes clusters."},
			},
			Data: want,
		}, metav1.CreateOptions{})
	case err == nil && !maps.Equal(have.Data, want):
		have.Data = want
		_, err = client.Update(ctx, have, metav1.UpdateOptions{})
	}
	return settled("publish the CA's certificate in", namespace, err)
}

// settled takes for success what makes the write needless: somebody else made the
// object, or the namespace is going.
func settled(doing, namespace string, err error) error {
	switch {
	case err == nil, apierrors.IsAlreadyExists(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), missing(err):
		return nil
	}
	return fmt.Errorf("%s namespace %s: %w", doing, namespace, err)
}

// missing says whether it is the namespace that was not found.
func missing(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}
