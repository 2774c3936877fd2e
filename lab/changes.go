package lab

import "k8s.io/client-go/tools/cache"

// changes gives a channel that holds a token whenever something in the informer has
// changed since it was last received from. What it was is for the reader to look up.
func changes(informer cache.SharedIndexInformer) (<-chan struct{}, cache.ResourceEventHandlerRegistration, error) {
	changed := make(chan struct{}, 1)
	wake := func(any) {
		select {
		case changed <- struct{}{}:
		default: // there is a token already
		}
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: wake, UpdateFunc: func(_, cur any) { wake(cur) }, DeleteFunc: wake,
	})
	return changed, registration, err
}
