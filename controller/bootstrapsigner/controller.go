// Package bootstrapsigner signs the ConfigMap cluster-info in kube-public, by which a
// machine that knows nothing but a bootstrap token finds out whether the API server that
// it has reached is the right one: the ConfigMap says where the cluster is and which CA
// it has, anybody may read it, and only who knows the token can have signed it.
//
// Upstream counterpart: pkg/controller/bootstrap's signer. kubeadm join checks the
// signature.
//
// What flows in: the ConfigMap, which the API server makes, and the Secrets of bootstrap
// tokens in kube-system. What flows out: one key jws-kubeconfig-ID for each token.
package bootstrapsigner

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/resources"
)

// clusterInfo is the only name that the loop works on.
var clusterInfo = loop.Name{Namespace: metav1.NamespacePublic, Name: "cluster-info"}

// Controller is the loop.
type Controller struct {
	*loop.Loop[loop.Name]
	client kubernetes.Interface
}

// New makes the loop and says what wakes it.
func New(env loop.Env, catalog *resources.Catalog) (*Controller, error) {
	c := &Controller{client: env.Client}
	c.Loop = loop.New("bootstrapsigner", env, c.sync)
	for kind, concerns := range map[string]func(cache.ObjectName) bool{
		"ConfigMap": func(name cache.ObjectName) bool { return name == clusterInfo },
		"Secret": func(name cache.ObjectName) bool {
			return name.Namespace == metav1.NamespaceSystem && strings.HasPrefix(name.Name, secretPrefix)
		},
	} {
		r := catalog.ByKind("v1", kind)
		if r == nil || r.Informer == nil {
			return nil, fmt.Errorf("the API server serves no kind %s that can be watched", kind)
		}
		look := func(obj any) {
			if name, err := cache.DeletionHandlingObjectToName(obj); err == nil && concerns(name) {
				c.Add(clusterInfo)
			}
		}
		c.Follow(r.Informer, cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, obj any) { look(obj) }, DeleteFunc: look})
	}
	return c, nil
}

// sync reads the objects themselves: the informers know their metadata only.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	info, err := c.client.CoreV1().ConfigMaps(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	tokens, err := c.client.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{
		FieldSelector: "type=" + string(corev1.SecretTypeBootstrapToken)})
	if err != nil {
		return fmt.Errorf("list bootstrap tokens: %w", err)
	}
	next := signed(info.Data, tokens.Items, time.Now())
	if maps.Equal(next, info.Data) {
		return nil
	}
	info.Data = next
	if _, err := c.client.CoreV1().ConfigMaps(name.Namespace).Update(ctx, info, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("sign %s: %w", name, err)
	}
	return nil
}
