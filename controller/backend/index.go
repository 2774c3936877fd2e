package backend

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/controller/loop"
)

// Names of the indexes.
const (
	podsByLabel        = "label"
	servicesBySelector = "selector"
)

// Index finds the Pods of a Service and the Services of a Pod.
//
// Kubernetes: upstream compares a Pod with every Service of its namespace, and a
// Service with every Pod. Here each Service is filed under one pair of its selector
// and each Pod under all its labels, so either question touches only what has a pair
// in common.
type Index struct {
	pods, services cache.Indexer
}

// NewIndex files the objects of two informers. It must be called before they start.
func NewIndex(pods, services cache.SharedIndexInformer) (*Index, error) {
	if err := loop.AddIndex(pods, podsByLabel, labelKeys); err != nil {
		return nil, err
	}
	if err := loop.AddIndex(services, servicesBySelector, selectorKey); err != nil {
		return nil, err
	}
	return &Index{pods: pods.GetIndexer(), services: services.GetIndexer()}, nil
}

// Pods lists the Pods that the Service selects, in no order.
func (x *Index) Pods(svc *corev1.Service) ([]*corev1.Pod, error) {
	key, err := selectorKey(svc)
	if err != nil {
		return nil, err
	}
	pods, err := loop.ByIndex[*corev1.Pod](x.pods, podsByLabel, key...)
	selector := labels.SelectorFromValidatedSet(svc.Spec.Selector)
	return slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return !selector.Matches(labels.Set(p.Labels)) }), err
}

// Services lists the Services that select the Pod, in no order.
func (x *Index) Services(pod *corev1.Pod) ([]loop.Name, error) {
	keys, err := labelKeys(pod)
	if err != nil {
		return nil, err
	}
	services, err := loop.ByIndex[*corev1.Service](x.services, servicesBySelector, keys...)
	var names []loop.Name
	for _, svc := range services {
		if labels.SelectorFromValidatedSet(svc.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			names = append(names, loop.NameOf(svc))
		}
	}
	return names, err
}

// Affected lists the Services whose endpoints a Pod's change may change.
// old is nil for a new Pod, cur for one that is gone.
func (x *Index) Affected(old, cur *corev1.Pod) ([]loop.Name, error) {
	if old != nil && cur != nil {
		if !Differs(old, cur) {
			return nil, nil
		}
		if maps.Equal(old.Labels, cur.Labels) {
			return x.Services(cur)
		}
	}
	var names []loop.Name
	for _, pod := range []*corev1.Pod{old, cur} {
		if pod == nil {
			continue
		}
		more, err := x.Services(pod)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	return names, nil
}

func labelKeys(obj any) ([]string, error) {
	var keys []string
	if pod, ok := obj.(*corev1.Pod); ok {
		for k, v := range pod.Labels {
			keys = append(keys, pairKey(pod.Namespace, k, v))
		}
	}
	return keys, nil
}

// selectorKey files a Service under the last pair of its selector by name. Any pair
// would do, as long as it is always the same.
func selectorKey(obj any) ([]string, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok || len(svc.Spec.Selector) == 0 {
		return nil, nil
	}
	k := slices.Max(slices.Collect(maps.Keys(svc.Spec.Selector)))
	return []string{pairKey(svc.Namespace, k, svc.Spec.Selector[k])}, nil
}

func pairKey(namespace, k, v string) string { return namespace + "/" + k + "=" + v }
