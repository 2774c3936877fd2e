package loop

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// object is a pointer to an API type.
type object interface {
	comparable
	metav1.Object
}

// Watch calls see for each change of an informer's objects. old is nil for an object
// that appeared and cur is nil for one that is gone, in which case old is the last
// state known. It must be called before the informer starts.
func Watch[K comparable, T object](l *Loop[K], informer cache.SharedIndexInformer, see func(old, cur T)) {
	l.Follow(informer, handler(see))
}

// Follow registers a handler and has Synced wait for it.
func (l *Loop[K]) Follow(informer cache.SharedIndexInformer, h cache.ResourceEventHandler) {
	registration, err := informer.AddEventHandler(h)
	if err != nil {
		l.err = fmt.Errorf("watch: %w", err)
		return
	}
	l.synced = append(l.synced, registration.HasSyncedChecker())
}

// handler turns client-go's three callbacks into one.
func handler[T object](see func(old, cur T)) cache.ResourceEventHandler {
	var none T
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { see(none, obj.(T)) },
		UpdateFunc: func(old, cur any) {
			o, c := old.(T), cur.(T)
			if o.GetUID() != c.GetUID() {
				// The object was deleted and made anew while the watch was interrupted.
				see(o, none)
				o = none
			}
			see(o, c)
		},
		DeleteFunc: func(obj any) {
			if tomb, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = tomb.Obj // the deletion itself was missed; this is the last state seen
			}
			if old, ok := obj.(T); ok {
				see(old, none)
			}
		},
	}
}

// AddIndex gives an informer an index, once: several loops may ask for the same one.
func AddIndex(informer cache.SharedIndexInformer, name string, keys cache.IndexFunc) error {
	if _, ok := informer.GetIndexer().GetIndexers()[name]; ok {
		return nil
	}
	if err := informer.AddIndexers(cache.Indexers{name: keys}); err != nil {
		return fmt.Errorf("add index %s: %w", name, err)
	}
	return nil
}

// ByIndex lists the cached objects that an index holds under any of the keys.
// An object is listed once for each key it is found under.
func ByIndex[T any](indexer cache.Indexer, name string, keys ...string) ([]T, error) {
	var out []T
	for _, key := range keys {
		objs, err := indexer.ByIndex(name, key)
		if err != nil {
			return nil, fmt.Errorf("read index: %w", err)
		}
		for _, obj := range objs {
			out = append(out, obj.(T))
		}
	}
	return out, nil
}
