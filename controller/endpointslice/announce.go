package endpointslice

import (
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"orrery.example.org/controller/loop"
)

// sharesChanged looks at all Services with automatic hints again when a node's part in the
// zones' shares of CPUs changes.
func (c *Controller) sharesChanged(old, cur *corev1.Node) {
	if apiequality.Semantic.DeepEqual(partOf(old), partOf(cur)) {
		return
	}
	services, err := c.services.List(labels.Everything())
	if err != nil {
		c.Log().Error("list the Services", "err", err)
	}
	for _, svc := range services {
		if automatic(svc) {
			c.Add(loop.NameOf(svc))
		}
	}
}

// partOf is what of a node its zone's share depends on.
func partOf(node *corev1.Node) any {
	if node == nil || !ready(node) {
		return nil
	}
	return []string{node.Labels[corev1.LabelTopologyZone], node.Status.Allocatable.Cpu().String()}
}

// announced is what was said last of the automatic hints of each Service.
type announced struct {
	mu   sync.Mutex
	said map[loop.Name]map[discoveryv1.AddressType]string
}

// news are the address families of which something else is to be said now.
func (a *announced) news(svc loop.Name, say map[discoveryv1.AddressType]string) map[discoveryv1.AddressType]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := maps.Clone(say)
	maps.DeleteFunc(fresh, func(t discoveryv1.AddressType, text string) bool {
		said, ok := a.said[svc][t]
		return ok && said == text
	})
	a.said[svc] = say
	if say == nil {
		delete(a.said, svc)
	}
	return fresh
}

// announce tells by events whether a Service has automatic hints.
func (c *Controller) announce(svc *corev1.Service, hints map[discoveryv1.AddressType]string) {
	for addressType, disabled := range c.hints.news(loop.NameOf(svc), hints) {
		if disabled == "" {
			c.events.Eventf(svc, corev1.EventTypeNormal, "TopologyAwareHintsEnabled",
				"Topology Aware Hints has been enabled, addressType: %s", addressType)
			continue
		}
		c.events.Eventf(svc, corev1.EventTypeWarning, "TopologyAwareHintsDisabled", "%s, addressType: %s", disabled, addressType)
	}
}
