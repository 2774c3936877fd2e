package apiserver

import (
	"context"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/admission"
	"orrery.example.org/apiserver/alloc"
	"orrery.example.org/apiserver/store"
)

// delete asks for the end of an object (deletion.go says what that means) and answers
// with the object if it lives on, else with a Status.
func (h *handlers) delete(c *call) error {
	o, err := c.deleteOptions()
	if err != nil {
		return err
	}
	v, gone, err := h.drop(c, c.namespace, c.name, o)
	if err != nil {
		return err
	}
	if gone && !answersWithObject(c.kind) {
		return c.respondObject(http.StatusOK, success(c, v.Object), statusGVK)
	}
	code := http.StatusOK
	if cascading := o.OrphanDependents != nil && !*o.OrphanDependents; !gone && cascading {
		code = http.StatusAccepted // only who asks in the old way hears the difference
	}
	return c.respond(code, v)
}

// answersWithObject: a few kinds have always answered with what was deleted.
func answersWithObject(k *api.Kind) bool {
	switch k.Storage().GroupVersionKind {
	case corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithKind("Service"),
		corev1.SchemeGroupVersion.WithKind("ServiceAccount"):
		return true
	}
	return false
}

func success(c *call, o api.Object) *metav1.Status {
	return &metav1.Status{
		Status:  metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: o.GetName(), Group: c.version.Group, Kind: c.kind.Resource, UID: o.GetUID()},
	}
}

// drop deletes an object, if admission lets it go.
func (h *handlers) drop(c *call, namespace, name string, o *metav1.DeleteOptions) (v *store.Version, gone bool, err error) {
	return h.end(c.ctx(), c.resource, namespace, name, o, func(old api.Object) error {
		return h.admitDelete(c, old, len(o.DryRun) > 0)
	})
}

// end deletes an object that approve lets go, or starts its deletion. gone says which.
func (h *handlers) end(ctx context.Context, res *resource, namespace, name string, o *metav1.DeleteOptions, approve func(old api.Object) error) (v *store.Version, gone bool, err error) {
	v, err = h.commit(ctx, res, namespace, name, len(o.DryRun) > 0, func(current *store.Version, _ alloc.Taken) (store.Write, error) {
		if current == nil {
			return store.Write{}, apierrors.NewNotFound(res.kind.GroupResource(), name)
		}
		if err := approve(current.Object); err != nil {
			return store.Write{}, err
		}
		next, err := succession(res.kind, current.Object, o, time.Now())
		gone = err == nil && next == nil
		if err != nil || gone {
			return remove(current.Object), err
		}
		return store.Write{Object: next, TTL: res.kind.TTL}, nil
	})
	if err == nil && gone {
		v = ended(v)
	}
	return v, gone, err
}

// ended shows what is gone without the grace it had: it was not waited for.
func ended(v *store.Version) *store.Version {
	if left := v.Object.GetDeletionGracePeriodSeconds(); left == nil || *left == 0 {
		return v
	}
	o := v.Object.DeepCopyObject().(api.Object)
	o.SetDeletionGracePeriodSeconds(new(int64))
	return showing(o)
}

// admitDelete asks admission about one object of those a call deletes.
func (h *handlers) admitDelete(c *call, old api.Object, dryRun bool) error {
	a := h.admission(c, admission.Delete, nil, old, dryRun)
	a.Namespace, a.Name = old.GetNamespace(), old.GetName()
	if err := admission.Admit(c.ctx(), a); err != nil {
		return err
	}
	return admission.Validate(c.ctx(), a)
}

// remove deletes an object and gives back what was allocated to it.
func remove(o api.Object) store.Write {
	svc, _ := o.(*corev1.Service)
	g := alloc.Grant{Release: alloc.Names(svc)}
	return store.Write{Release: g.Release, Beside: mirror(o, g)}
}

// deleteCollection deletes what the selectors select, one by one, and answers with the
// list of it.
func (h *handlers) deleteCollection(c *call) error {
	lo, err := c.listOptions(false)
	if err != nil {
		return err
	}
	o, err := c.deleteOptions()
	if err != nil {
		return err
	}
	a, err := negotiate(c.r, true)
	if err != nil {
		return err
	}
	found, err := c.objects.List(c.ctx(), storeListOptions(c, lo))
	if err != nil {
		return err
	}
	for _, v := range found.Items {
		_, _, err := h.drop(c, v.Object.GetNamespace(), v.Object.GetName(), o)
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	f := c.form(a)
	pieces, err := f.list(found.Items, metav1.ListMeta{ResourceVersion: strconv.FormatInt(found.Revision, 10)})
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, a, f, pieces)
}

// deleteOptions come in the body, or else in the query.
func (c *call) deleteOptions() (*metav1.DeleteOptions, error) {
	o := &metav1.DeleteOptions{}
	body, err := readBody(c.r)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		q := c.r.URL.Query()
		if err := metav1.Convert_url_Values_To_v1_DeleteOptions(&q, o, nil); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	} else if o, err = decodeDeleteOptions(c.r, body); err != nil {
		return nil, err
	}
	return o, checked("DeleteOptions", validation.ValidateDeleteOptions(o))
}

func decodeDeleteOptions(r *http.Request, body []byte) (*metav1.DeleteOptions, error) {
	m, err := bodyMedia(r)
	if err != nil {
		return nil, err
	}
	o := &metav1.DeleteOptions{}
	gvk := metav1.SchemeGroupVersion.WithKind("DeleteOptions")
	if _, _, err := decoderOf(m, anyDeleteOptions{o}, false).Decode(body, &gvk, nil); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return o, nil
}

// anyDeleteOptions decodes into one object; clients name DeleteOptions by any group.
type anyDeleteOptions struct{ o *metav1.DeleteOptions }

func (a anyDeleteOptions) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if gvk.Kind != "DeleteOptions" {
		return nil, &wrongKind{got: gvk, want: metav1.SchemeGroupVersion.WithKind("DeleteOptions")}
	}
	return a.o, nil
}
