package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

// Objects is how authenticators see what is stored.
type Objects interface {
	// Get finds an object of the storage version, asking etcd if the cache has none.
	Get(ctx context.Context, resource schema.GroupResource, namespace, name string) (api.Object, error)
}

const serviceAccountPrefix = "system:serviceaccount:"

// ServiceAccountGroups are the groups of every ServiceAccount of the namespace.
func ServiceAccountGroups(namespace string) []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
}

// SplitServiceAccount takes a user name apart, if it is a ServiceAccount's.
func SplitServiceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, serviceAccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	ok = ok && len(validation.ValidateNamespaceName(namespace, false)) == 0 &&
		len(validation.ValidateServiceAccountName(name, false)) == 0
	return namespace, name, ok
}

// ExtraNodeName is the key under which a user's extra tells on which node his Pod runs.
const ExtraNodeName = "authentication.kubernetes.io/node-name"

// What else a token is bound to, and which one it is.
const (
	extraPodName      = "authentication.kubernetes.io/pod-name"
	extraPodUID       = "authentication.kubernetes.io/pod-uid"
	extraNodeUID      = "authentication.kubernetes.io/node-uid"
	extraCredentialID = "authentication.kubernetes.io/credential-id"
)

// user is who holds the token.
func (c *claims) user() *User {
	namespace, name, uid := c.Binding.Namespace, c.Binding.Account.Name, c.Binding.Account.UID
	if c.Issuer == legacyIssuer {
		namespace, name, uid = c.legacyClaims.Namespace, c.legacyClaims.Account, c.AccountUID
	}
	u := &User{
		Name:   serviceAccountPrefix + namespace + ":" + name,
		UID:    string(uid),
		Groups: append(ServiceAccountGroups(namespace), GroupAuthenticated),
		Extra:  map[string][]string{},
	}
	if pod := c.Binding.Pod; pod != nil {
		u.Extra[extraPodName], u.Extra[extraPodUID] = []string{pod.Name}, []string{string(pod.UID)}
	}
	if node := c.Binding.Node; node != nil {
		u.Extra[ExtraNodeName] = []string{node.Name}
		if node.UID != "" { // a Pod's node may not be registered
			u.Extra[extraNodeUID] = []string{string(node.UID)}
		}
	}
	if c.ID != "" {
		u.Extra[extraCredentialID] = []string{"JTI=" + c.ID}
	}
	return u
}

// leeway is how much clocks may differ, and how long what is being deleted still counts.
const leeway = time.Minute

// checkTime says whether the token is good at the time.
func (c *claims) checkTime(now time.Time) error {
	switch {
	case c.NotBefore != nil && now.Add(leeway).Before(c.NotBefore.Time):
		return errors.New("service account token is not valid yet")
	case c.ExpiresAt != nil && now.Add(-leeway).After(c.ExpiresAt.Time):
		return errors.New("service account token has expired")
	case c.IssuedAt != nil && now.Add(leeway).Before(c.IssuedAt.Time):
		return errors.New("service account token is issued in the future")
	}
	return nil
}

var errInvalidated = errors.New("service account token has been invalidated")

// check looks whether the token is good now, and whether all that it is bound to is
// still there.
func (i *Issuer) check(ctx context.Context, c *claims) error {
	now := time.Now()
	if err := c.checkTime(now); err != nil {
		return err
	}
	account, err := i.objects.Get(ctx, schema.GroupResource{Resource: "serviceaccounts"}, c.Binding.Namespace, c.Binding.Account.Name)
	switch {
	case err != nil:
		return err
	case account.GetUID() != c.Binding.Account.UID:
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", account.GetUID(), c.Binding.Account.UID)
	case gone(account, now):
		return fmt.Errorf("service account %s/%s has been deleted", c.Binding.Namespace, c.Binding.Account.Name)
	}
	if err := i.bound(ctx, "secret", c.Binding.Namespace, c.Binding.Secret, now); err != nil {
		return err
	}
	if c.Binding.Pod != nil { // its node is only told
		return i.bound(ctx, "pod", c.Binding.Namespace, c.Binding.Pod, now)
	}
	return i.bound(ctx, "node", "", c.Binding.Node, now)
}

// bound looks whether an object that a token is bound to is still there; kind is "pod",
// "secret" or "node".
func (i *Issuer) bound(ctx context.Context, kind, namespace string, ref *Ref, now time.Time) error {
	if ref == nil {
		return nil
	}
	o, err := i.objects.Get(ctx, schema.GroupResource{Resource: kind + "s"}, namespace, ref.Name)
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return err
	case err != nil || gone(o, now):
		return errInvalidated
	case o.GetUID() != ref.UID:
		return fmt.Errorf("%s UID (%s) does not match service account %s ref claim (%s)", kind, o.GetUID(), kind, ref.UID)
	}
	return nil
}

// gone says whether the object's time is over, though it may wait for finalizers.
func gone(o api.Object, now time.Time) bool {
	deleted := o.GetDeletionTimestamp()
	return deleted != nil && deleted.Time.Before(now.Add(-leeway))
}

// checkLegacy does the same for a token from a Secret: it counts as long as the Secret
// holds exactly it.
func (i *Issuer) checkLegacy(ctx context.Context, c *claims, token string) error {
	l := c.legacyClaims
	namespace, name, ok := SplitServiceAccount(c.Subject)
	if !ok || namespace != l.Namespace || name != l.Account || l.Secret == "" {
		return errors.New("sub claim is invalid")
	}
	o, err := i.objects.Get(ctx, schema.GroupResource{Resource: "secrets"}, l.Namespace, l.Secret)
	if err != nil || o.GetDeletionTimestamp() != nil {
		return errors.New("Token has been invalidated")
	}
	if subtle.ConstantTimeCompare(o.(*corev1.Secret).Data[corev1.ServiceAccountTokenKey], []byte(token)) == 0 {
		return errors.New("Token does not match server's copy")
	}
	account, err := i.objects.Get(ctx, schema.GroupResource{Resource: "serviceaccounts"}, l.Namespace, l.Account)
	switch {
	case err != nil:
		return err
	case account.GetDeletionTimestamp() != nil:
		return fmt.Errorf("ServiceAccount %s/%s has been deleted", l.Namespace, l.Account)
	case account.GetUID() != l.AccountUID:
		return fmt.Errorf("ServiceAccount UID (%s) does not match claim (%s)", account.GetUID(), l.AccountUID)
	}
	return nil
}
