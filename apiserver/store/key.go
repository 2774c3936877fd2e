package store

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orrery.example.org/api"
)

// resourcePrefix is where the keys of a kind are, below the store's prefix.
//
// Kubernetes: the groups that come with Kubernetes share one level, "deployments/",
// and custom ones are below their group, "example.org/widgets/". A few of upstream's
// old names (minions/, services/specs/) are not kept.
func resourcePrefix(k *api.Kind) string {
	group := k.Storage().Group
	if strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io") {
		return group + "/" + k.Resource + "/"
	}
	return k.Resource + "/"
}

// key is an object's key within its kind: "default/web", or "node1".
func (c *Collection) key(namespace, name string) string {
	if c.kind.Namespaced {
		return namespace + "/" + name
	}
	return name
}

// path is the whole key in etcd.
func (c *Collection) path(key string) string { return c.store.prefix + c.prefix + key }

// route finds the kind that a key in etcd, without the store's prefix, belongs to, and
// the key within that kind.
func (s *Store) route(rest string) (*Collection, string) {
	resource, key, ok := strings.Cut(rest, "/")
	if !ok {
		return nil, ""
	}
	if c := s.resources[rest[:len(resource)+1]]; c != nil {
		return c, key
	}
	second, key, ok := strings.Cut(key, "/")
	if !ok {
		return nil, ""
	}
	return s.resources[rest[:len(resource)+1+len(second)+1]], key
}

// continueToken is where a list goes on. Clients must not look inside, but upstream's
// do find the same fields there.
type continueToken struct {
	APIVersion string `json:"v"`
	Revision   int64  `json:"rv"`    // of the first page; -1: any
	Start      string `json:"start"` // the first key that is left

	// Left is how many objects are left at the revision, 0 if that has to be counted. It
	// saves every page from counting all that follow it.
	Left int64 `json:"left,omitempty"`
}

const tokenVersion = "meta.k8s.io/v1"

// String encodes the token.
func (t continueToken) String() string {
	t.APIVersion = tokenVersion
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // of two strings and a number
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// after is the token for what follows key, at a revision.
func after(key string, revision int64) continueToken {
	return continueToken{Revision: revision, Start: key + "\x00"}
}

// parseContinue reads a token that a client sent.
func parseContinue(text string) (continueToken, error) {
	t, err := decodeContinue(text)
	if err != nil {
		return t, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: %v", err))
	}
	return t, nil
}

func decodeContinue(text string) (continueToken, error) {
	var t continueToken
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return t, fmt.Errorf("continue key is not valid: %w", err)
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return t, fmt.Errorf("continue key is not valid: %w", err)
	}
	if t.APIVersion != tokenVersion {
		return t, fmt.Errorf("continue key is not valid: server does not recognize this encoded version %q", t.APIVersion)
	}
	if t.Revision == 0 || t.Revision < -1 {
		return t, errors.New("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	}
	if t.Start == "" {
		return t, errors.New("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
	}
	// A key that path.Clean changes leads out of the collection.
	if key := "/" + t.Start; path.Clean(key) != key {
		return t, fmt.Errorf("continue key is not valid: %s", t.Start)
	}
	return t, nil
}
