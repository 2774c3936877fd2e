// Package ownership settles which objects belong to a controller: by ownerReference
// first, by selector for those that have no owner yet.
//
// Upstream counterpart: pkg/controller/controller_ref_manager.go. A Deployment claims
// ReplicaSets and a ReplicaSet claims Pods with the same four verdicts: an object that
// another controller owns is ignored, an own one whose labels stopped matching is
// released, an orphan whose labels match is adopted, and the rest is kept.
package ownership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/controller/loop"
)

// Index is the name of the index that finds the objects a controller may claim
// without looking at the rest of the namespace.
const Index = "controller"

// ByController is the index function of Index: the owner's UID, or the orphans of a namespace.
func ByController(obj any) ([]string, error) {
	o, ok := obj.(metav1.Object)
	if !ok {
		return nil, nil
	}
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		return []string{string(ref.UID)}, nil
	}
	return []string{orphansOf(o.GetNamespace())}, nil
}

func orphansOf(namespace string) string { return "orphans/" + namespace }

// Candidates lists what owner has or could adopt.
func Candidates[T any](indexer cache.Indexer, owner metav1.Object) ([]T, error) {
	return loop.ByIndex[T](indexer, Index, string(owner.GetUID()), orphansOf(owner.GetNamespace()))
}

// Verdict is what a controller does with an object.
type Verdict int

// The verdicts.
const (
	Ignore Verdict = iota
	Keep
	Adopt
	Release
)

// Decide is the rule.
func Decide(owner metav1.Object, selector labels.Selector, obj metav1.Object) Verdict {
	matches := selector.Matches(labels.Set(obj.GetLabels()))
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
		switch {
		case ref.UID != owner.GetUID():
			return Ignore
		case matches:
			return Keep
		case owner.GetDeletionTimestamp() != nil:
			return Ignore // the garbage collector takes it from here
		default:
			return Release
		}
	}
	if owner.GetDeletionTimestamp() != nil || obj.GetDeletionTimestamp() != nil || !matches || selector.Empty() {
		return Ignore
	}
	return Adopt
}

// Claimer applies the verdicts.
type Claimer[T metav1.Object] struct {
	Owner    metav1.Object
	Kind     schema.GroupVersionKind
	Selector labels.Selector

	// Fresh reads the owner from the API server. A cache may show an owner that is
	// already gone or replaced, and such a one must not adopt.
	Fresh func(context.Context) (metav1.Object, error)
	// Patch sends a strategic merge patch to an object.
	Patch func(ctx context.Context, obj T, patch []byte) error
}

// Claim returns the objects that belong to the owner, after adopting and releasing.
func (c *Claimer[T]) Claim(ctx context.Context, objs []T) ([]T, error) {
	var (
		mine  []T
		errs  []error
		fresh = c.freshOnce(ctx)
	)
	for _, obj := range objs {
		switch Decide(c.Owner, c.Selector, obj) {
		case Keep:
			mine = append(mine, obj)
		case Release:
			errs = append(errs, c.release(ctx, obj))
		case Adopt:
			err := fresh()
			if err == nil {
				err = c.adopt(ctx, obj)
			}
			switch {
			case err == nil:
				mine = append(mine, obj)
			case !apierrors.IsNotFound(err):
				errs = append(errs, fmt.Errorf("adopt %s: %w", obj.GetName(), err))
			}
		}
	}
	return mine, errors.Join(errs...)
}

// freshOnce checks the owner against the API server, at most once.
func (c *Claimer[T]) freshOnce(ctx context.Context) func() error {
	var done bool
	var result error
	return func() error {
		if done {
			return result
		}
		done = true
		owner, err := c.Fresh(ctx)
		switch {
		case err != nil:
			result = err
		case owner.GetUID() != c.Owner.GetUID():
			result = fmt.Errorf("original %s %s/%s is gone: got uid %s, wanted %s",
				c.Kind.Kind, owner.GetNamespace(), owner.GetName(), owner.GetUID(), c.Owner.GetUID())
		case owner.GetDeletionTimestamp() != nil:
			result = fmt.Errorf("%s %s/%s has just been deleted", c.Kind.Kind, owner.GetNamespace(), owner.GetName())
		}
		return result
	}
}

// metaPatch is a patch of metadata that applies only to the object with this UID.
type metaPatch struct {
	Metadata struct {
		UID             types.UID `json:"uid"`
		OwnerReferences []any     `json:"ownerReferences"`
	} `json:"metadata"`
}

func (c *Claimer[T]) adopt(ctx context.Context, obj T) error {
	return c.patchOwners(ctx, obj, metav1.NewControllerRef(c.Owner, c.Kind))
}

func (c *Claimer[T]) release(ctx context.Context, obj T) error {
	err := c.patchOwners(ctx, obj, map[string]any{"$patch": "delete", "uid": c.Owner.GetUID()})
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		// Gone; or another object of that name (its UID differs), or no longer ours.
		return nil
	}
	if err != nil {
		return fmt.Errorf("release %s: %w", obj.GetName(), err)
	}
	return nil
}

func (c *Claimer[T]) patchOwners(ctx context.Context, obj T, ref any) error {
	var p metaPatch
	p.Metadata.UID = obj.GetUID()
	p.Metadata.OwnerReferences = []any{ref}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return c.Patch(ctx, obj, data)
}
