// Package tokencleaner deletes bootstrap tokens in the moment they expire.
//
// Upstream counterpart: pkg/controller/bootstrap's token cleaner.
//
// What flows in: the Secrets of bootstrap tokens in kube-system. What flows out:
// deletions.
package tokencleaner

import (
	"context"
	"fmt"
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

// Controller is the loop. Its names are those of Secrets.
type Controller struct {
	*loop.Loop[loop.Name]
	client kubernetes.Interface
}

// New makes the loop and says what wakes it.
func New(env loop.Env, catalog *resources.Catalog) (*Controller, error) {
	c := &Controller{client: env.Client}
	c.Loop = loop.New("tokencleaner", env, c.sync)
	r := catalog.ByKind("v1", "Secret")
	if r == nil || r.Informer == nil {
		return nil, fmt.Errorf("the API server serves no Secrets that can be watched")
	}
	look := func(obj any) {
		name, err := cache.DeletionHandlingObjectToName(obj)
		if err == nil && name.Namespace == metav1.NamespaceSystem && strings.HasPrefix(name.Name, "bootstrap-token-") {
			c.Add(name)
		}
	}
	c.Follow(r.Informer, cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, obj any) { look(obj) }})
	return c, nil
}

// sync reads the Secret itself: the informer knows its metadata only.
func (c *Controller) sync(ctx context.Context, name loop.Name) error {
	secret, err := c.client.CoreV1().Secrets(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read bootstrap token %s: %w", name, err)
	}
	left, ends := remaining(secret, time.Now())
	switch {
	case !ends:
		return nil
	case left > 0:
		c.AddAfter(name, left)
		return nil
	}
	// Whoever has made it anew meanwhile keeps his: his has another uid.
	err = c.client.CoreV1().Secrets(name.Namespace).Delete(ctx, name.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(secret.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete expired bootstrap token %s: %w", name, err)
	}
	return nil
}

// remaining says how long a token is good, and whether it ends at all. A time that
// cannot be read is over.
func remaining(s *corev1.Secret, now time.Time) (left time.Duration, ends bool) {
	expiration := string(s.Data["expiration"])
	if s.Type != corev1.SecretTypeBootstrapToken || expiration == "" {
		return 0, false
	}
	end, err := time.Parse(time.RFC3339, expiration)
	if err != nil {
		return 0, true
	}
	return max(0, end.Sub(now)), true
}
