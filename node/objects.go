package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// objects watches the ConfigMaps and Secrets that Pods of this node refer to, each by
// its name and only as long as a Pod refers to it: a node has no business with the
// others, and a cluster may have many. Upstream counterpart: kubelet's configmap and
// secret managers with the change detection strategy Watch, its default.
type objects struct {
	client kubernetes.Interface

	mu      sync.Mutex
	watches map[reference]*watch
}

// reference names a ConfigMap or Secret.
type reference struct{ kind, namespace, name string }

const (
	configMapKind = "configmap"
	secretKind    = "secret"
)

// watch is the watch of one object.
type watch struct {
	informer cache.SharedIndexInformer
	stop     func()                 // waits for its end
	users    map[chan struct{}]bool // each gets a token when the object changes
}

// syncPatience is how long a Pod waits for the first answer about an object, as
// upstream's does.
const syncPatience = time.Second

// follow begins to watch an object for a user, who gets tokens from then on.
func (o *objects) follow(ctx context.Context, ref reference, user chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.watches[ref]
	if w == nil {
		// It outlives the user who came first.
		w = o.newWatch(context.WithoutCancel(ctx), ref)
		o.watches[ref] = w
	}
	w.users[user] = true
}

func (o *objects) newWatch(ctx context.Context, ref reference) *watch {
	ctx, cancel := context.WithCancel(ctx)
	named := fields.OneTermEqualSelector(metav1.ObjectNameField, ref.name).String()
	factory := informers.NewSharedInformerFactoryWithOptions(o.client, 0, informers.WithTransform(slim),
		informers.WithNamespace(ref.namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = named }))
	w := &watch{users: map[chan struct{}]bool{}}
	if ref.kind == secretKind {
		w.informer = factory.Core().V1().Secrets().Informer()
	} else {
		w.informer = factory.Core().V1().ConfigMaps().Informer()
	}
	w.stop = func() {
		cancel()
		factory.Shutdown()
	}
	// The error says that the informer was stopped; this one was not started yet.
	_, _ = w.informer.AddEventHandler(onAny(func(any) {
		o.mu.Lock()
		defer o.mu.Unlock()
		for user := range w.users {
			poke(user)
		}
	}))
	factory.StartWithContext(ctx)
	return w
}

// leave ends what follow began. The last user ends the watch.
func (o *objects) leave(ref reference, user chan struct{}) {
	o.mu.Lock()
	w := o.watches[ref]
	delete(w.users, user)
	last := len(w.users) == 0
	if last {
		delete(o.watches, ref)
	}
	o.mu.Unlock()
	if last {
		w.stop() // without the lock, which its handler may be waiting for
	}
}

// answer is an object as last seen, or upstream's error.
type answer struct {
	object any
	err    error
}

// look asks for objects, all of which must be followed.
func (o *objects) look(ctx context.Context, refs map[reference]bool) map[reference]answer {
	ctx, cancel := context.WithTimeout(ctx, syncPatience)
	defer cancel()
	answers := map[reference]answer{}
	for ref := range refs {
		o.mu.Lock()
		informer := o.watches[ref].informer
		o.mu.Unlock()
		answers[ref] = see(ctx, informer, ref)
	}
	return answers
}

func see(ctx context.Context, informer cache.SharedIndexInformer, ref reference) answer {
	if !cache.WaitFor(ctx, "", informer.HasSyncedChecker()) {
		return answer{err: fmt.Errorf("failed to sync %s cache: timed out waiting for the condition", ref.kind)}
	}
	object, found, err := informer.GetStore().GetByKey(ref.namespace + "/" + ref.name)
	if err == nil && !found {
		err = apierrors.NewNotFound(corev1.Resource(ref.kind), ref.name)
	}
	return answer{object, err}
}

// references lists what a Pod's volumes, but for those to skip, and variables are made of.
func references(pod *corev1.Pod, skip map[string]bool) map[reference]bool {
	refs := map[reference]bool{}
	add := func(kind, name string) { refs[reference{kind, pod.Namespace, name}] = true }
	for _, v := range pod.Spec.Volumes {
		switch {
		case skip[v.Name]:
		case v.ConfigMap != nil:
			add(configMapKind, v.ConfigMap.Name)
		case v.Secret != nil:
			add(secretKind, v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				switch {
				case s.ConfigMap != nil:
					add(configMapKind, s.ConfigMap.Name)
				case s.Secret != nil:
					add(secretKind, s.Secret.Name)
				}
			}
		}
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, e := range c.EnvFrom {
			switch {
			case e.ConfigMapRef != nil:
				add(configMapKind, e.ConfigMapRef.Name)
			case e.SecretRef != nil:
				add(secretKind, e.SecretRef.Name)
			}
		}
		for _, v := range c.Env {
			switch from := v.ValueFrom; {
			case from == nil:
			case from.ConfigMapKeyRef != nil:
				add(configMapKind, from.ConfigMapKeyRef.Name)
			case from.SecretKeyRef != nil:
				add(secretKind, from.SecretKeyRef.Name)
			}
		}
	}
	return refs
}
