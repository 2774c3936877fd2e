package endpointslice

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// zoned is a node with so many CPUs.
func zoned(zone string, cpus int64, tweaks ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: zone, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(cpus, resource.DecimalSI)},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, tweak := range tweaks {
		tweak(n)
	}
	return n
}

// automatically plans a Service of ready Pods, so many in each zone.
func automatically(pods map[string]int, nodes []*corev1.Node, existing []*discoveryv1.EndpointSlice) Plan {
	svc := service(func(s *corev1.Service) {
		s.Annotations = map[string]string{corev1.AnnotationTopologyMode: "Auto"}
		s.Spec.TrafficDistribution = new(string)
		*s.Spec.TrafficDistribution = corev1.ServiceTrafficDistributionPreferSameNode
	})
	var all []*corev1.Pod
	for _, zone := range slices.Sorted(maps.Keys(pods)) {
		for range pods[zone] {
			all = append(all, pod(len(all), func(p *corev1.Pod) { p.Spec.NodeName = zone }))
		}
	}
	s := snapshot(svc, all, existing)
	s.Shares = cpuShares(nodes)
	s.Node = func(name string) *corev1.Node {
		if strings.HasPrefix(name, "nowhere") {
			return &corev1.Node{}
		}
		return zoned(name, 1)
	}
	return Desired(s)
}

// hinted counts endpoints by the zone they are meant for, and by their own if it is another.
func hinted(all []*discoveryv1.EndpointSlice) string {
	count := map[string]int{}
	for _, s := range all {
		for _, e := range s.Endpoints {
			hint := "none"
			if e.Hints != nil {
				hint = e.Hints.ForZones[0].Name
			}
			if e.Zone != nil && hint != *e.Zone && hint != "none" {
				hint = *e.Zone + ">" + hint
			}
			count[hint]++
		}
	}
	return strings.TrimPrefix(fmt.Sprint(count), "map")
}

// TestP27Automatic: endpoints in proportion to CPUs, or none at all.
func TestP27Automatic(t *testing.T) {
	unready := func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }
	controlPlane := func(n *corev1.Node) { n.Labels["node-role.kubernetes.io/control-plane"] = "" }
	even := []*corev1.Node{zoned("a", 4), zoned("b", 4)}
	for _, row := range []struct {
		name     string
		pods     map[string]int
		nodes    []*corev1.Node
		want     string
		disabled string
	}{
		{"as they are", map[string]int{"a": 3, "b": 3}, even, "[a:3 b:3]", ""},
		{"one gives one", map[string]int{"a": 4, "b": 2}, even, "[a:3 a>b:1 b:2]", ""},
		{"all in one zone", map[string]int{"a": 6}, even, "[a:3 a>b:3]", ""},
		{"near enough", map[string]int{"a": 4, "b": 3}, even, "[a:4 b:3]", ""},
		{"twice the CPUs", map[string]int{"a": 3, "b": 3}, []*corev1.Node{zoned("a", 8), zoned("b", 4)}, "[a:3 b:2 b>a:1]", ""},
		{"three zones", map[string]int{"a": 9}, []*corev1.Node{zoned("a", 1), zoned("b", 1), zoned("c", 1)}, "[a:3 a>b:3 a>c:3]", ""},
		{"other nodes do not count", map[string]int{"a": 2, "b": 2}, append(even[:2:2], zoned("c", 9, unready), zoned("d", 9, controlPlane)), "[a:2 b:2]", ""},
		{"too few", map[string]int{"a": 1}, even, "[none:1]", "Insufficient number of endpoints (1 endpoints, 2 zones)"},
		{"too uneven", map[string]int{"a": 2, "b": 2}, []*corev1.Node{zoned("a", 100), zoned("b", 10), zoned("c", 10)}, "[none:4]",
			"Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (4 endpoints, 3 zones)"},
		{"a node without CPUs", map[string]int{"a": 3, "b": 3}, append(even[:2:2], zoned("c", 0)), "[none:6]",
			"Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"},
		{"an endpoint of no zone", map[string]int{"a": 3, "nowhere": 1}, even, "[none:4]", "One or more endpoints do not have a zone specified"},
	} {
		plan := automatically(row.pods, row.nodes, nil)
		if got := hinted(plan.Create); got != row.want || plan.Hints["IPv4"] != row.disabled {
			t.Errorf("%s: %s %q, want %s %q", row.name, got, plan.Hints["IPv4"], row.want, row.disabled)
		}
	}
}

// TestAutomaticStays: what changed sides stays there, and few slices are written.
func TestAutomaticStays(t *testing.T) {
	w := &world{slices: map[string]*discoveryv1.EndpointSlice{}}
	even := []*corev1.Node{zoned("a", 4), zoned("b", 4)}
	plan := automatically(map[string]int{"a": 400}, even, nil)
	w.apply(plan)
	if got := hinted(w.list()); got != "[a:200 a>b:200]" {
		t.Fatal(got)
	}
	plan = automatically(map[string]int{"a": 400}, even, w.list())
	if n := w.apply(plan); n != 0 {
		t.Errorf("%d writes for nothing", n)
	}
	plan = automatically(map[string]int{"a": 401}, even, w.list())
	if n := w.apply(plan); n != 1 {
		t.Errorf("%d writes for one more Pod", n)
	}
	plan = automatically(map[string]int{"a": 401}, []*corev1.Node{zoned("a", 4)}, w.list())
	w.apply(plan)
	if got := hinted(w.list()); got != "[none:401]" {
		t.Errorf("one zone left: %s", got)
	}
}
