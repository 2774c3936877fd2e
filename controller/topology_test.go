package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestP27TopologyMode: a Service's endpoints are meant for zones as soon as there are two,
// and not any more when one goes.
func TestP27TopologyMode(t *testing.T) {
	c := start(t)
	zone := func(node, name string) {
		t.Helper()
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, corev1.LabelTopologyZone, name)
		_, err := c.CoreV1().Nodes().Patch(c.ctx, node, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		must(t, err)
	}
	for _, name := range []string{"node1", "node2"} {
		c.node(name)
		zone(name, "east")
	}
	_, err := c.CoreV1().Services("default").Create(c.ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{corev1.AnnotationTopologyMode: "Auto"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	must(t, err)
	hinted := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d endpoints with hints", want), func() error {
			slices, err := c.DiscoveryV1().EndpointSlices("default").List(c.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
			must(t, err)
			endpoints, hints := 0, 0
			for _, s := range slices.Items {
				for _, e := range s.Endpoints {
					if endpoints++; e.Hints != nil {
						hints++
					}
				}
			}
			if endpoints == 0 || hints != want {
				return fmt.Errorf("%d of %d", hints, endpoints)
			}
			return nil
		})
	}
	c.deploy(deployment("web", 4, "nginx"))
	hinted(0)
	c.hasEvent("Service", "TopologyAwareHintsDisabled", "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, addressType: IPv4")
	zone("node2", "west")
	hinted(4)
	c.hasEvent("Service", "TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled, addressType: IPv4")
	must(t, c.CoreV1().Nodes().Delete(c.ctx, "node2", metav1.DeleteOptions{}))
	hinted(0)
}
