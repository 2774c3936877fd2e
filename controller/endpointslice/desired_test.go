package endpointslice

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func service(change ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "svc", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{
			Selector:   map[string]string{"app": "web"},
			ClusterIP:  "10.96.0.7",
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:      []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")}},
		},
	}
	for _, f := range change {
		f(svc)
	}
	return svc
}

// pod number i: ready, on node1, with its port "http" at 8080.
func pod(i int, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web-%04d", i), Namespace: "default", UID: types.UID(fmt.Sprint("uid-", i))},
		Spec: corev1.PodSpec{
			NodeName:   "node1",
			Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}},
		},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			PodIPs:     []corev1.PodIP{{IP: fmt.Sprintf("10.244.%d.%d", i/250, i%250+2)}, {IP: fmt.Sprintf("fd00:10:244::%x", i+2)}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func notReady(p *corev1.Pod)    { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func terminating(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
func onPort(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = n }
}

func snapshot(svc *corev1.Service, pods []*corev1.Pod, existing []*discoveryv1.EndpointSlice) Snapshot {
	return Snapshot{Service: svc, Pods: pods, Existing: existing, Node: func(name string) *corev1.Node {
		if name == "gone" || name == "" {
			return nil
		}
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: "zone-" + name}}}
	}}
}

// world is what the API server would hold after the plans were carried out.
type world struct {
	slices map[string]*discoveryv1.EndpointSlice
	made   int
}

func (w *world) list() []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	for _, name := range slices.Sorted(maps.Keys(w.slices)) {
		out = append(out, w.slices[name])
	}
	return out
}

func (w *world) apply(p Plan) (writes int) {
	for _, s := range p.Create {
		w.made++
		s.Name = fmt.Sprintf("%s%05d", s.GenerateName, w.made)
		s.UID = types.UID(s.Name)
		w.slices[s.Name] = s
	}
	for _, s := range p.Update {
		w.slices[s.Name] = s
	}
	for _, s := range p.Delete {
		delete(w.slices, s.Name)
	}
	return len(p.Create) + len(p.Update) + len(p.Delete)
}

// texts renders slices one per line: ports | endpoints with R(eady) S(erving) T(erminating).
func texts(all []*discoveryv1.EndpointSlice) []string {
	var out []string
	for _, s := range all {
		var parts []string
		for _, p := range s.Ports {
			parts = append(parts, fmt.Sprintf("%s:%d", *p.Name, *p.Port))
		}
		parts = append(parts, "|")
		for _, e := range s.Endpoints {
			flags := ""
			for flag, on := range map[string]*bool{"R": e.Conditions.Ready, "S": e.Conditions.Serving, "T": e.Conditions.Terminating} {
				if *on {
					flags += flag
				}
			}
			letters := strings.Split(flags, "")
			slices.Sort(letters)
			parts = append(parts, e.Addresses[0]+" "+strings.Join(letters, ""))
		}
		out = append(out, string(s.AddressType)+" "+strings.Join(parts, " "))
	}
	slices.Sort(out)
	return out
}

func TestDesired(t *testing.T) {
	headless := func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }
	for _, row := range []struct {
		name string
		svc  *corev1.Service
		pods []*corev1.Pod
		want []string
	}{
		{"no pods: one empty slice", service(), nil, []string{"IPv4 |"}},
		{"readiness", service(), []*corev1.Pod{pod(0), pod(1, notReady)}, []string{"IPv4 http:8080 | 10.244.0.2 RS 10.244.0.3 "}},
		{"terminating pods serve but are not ready", service(), []*corev1.Pod{pod(0, terminating), pod(1, notReady, terminating)},
			[]string{"IPv4 http:8080 | 10.244.0.2 ST 10.244.0.3 T"}},
		{"P29 publishNotReadyAddresses", service(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }),
			[]*corev1.Pod{pod(0, notReady), pod(1, terminating)}, []string{"IPv4 http:8080 | 10.244.0.2 R 10.244.0.3 RST"}},
		{"a named port with two numbers makes two slices", service(), []*corev1.Pod{pod(0), pod(1, onPort(9090))},
			[]string{"IPv4 http:8080 | 10.244.0.2 RS", "IPv4 http:9090 | 10.244.0.3 RS"}},
		{"a pod without the port is listed without ports", service(),
			[]*corev1.Pod{pod(0, func(p *corev1.Pod) { p.Spec.Containers = nil })}, []string{"IPv4 | 10.244.0.2 RS"}},
		{"headless without ports", service(headless, func(s *corev1.Service) { s.Spec.Ports = nil }), []*corev1.Pod{pod(0)}, []string{"IPv4 | 10.244.0.2 RS"}},
		{"pods without address, ended, or on a node that is gone are left out", service(), []*corev1.Pod{
			pod(0, func(p *corev1.Pod) { p.Status.PodIPs = nil }),
			pod(1, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
			pod(2, func(p *corev1.Pod) { p.Spec.NodeName = "gone" }),
		}, []string{"IPv4 |"}},
		{"both families", service(func(s *corev1.Service) {
			s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		}), []*corev1.Pod{pod(0)}, []string{"IPv4 http:8080 | 10.244.0.2 RS", "IPv6 http:8080 | fd00:10:244::2 RS"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			plan := Desired(snapshot(row.svc, row.pods, nil))
			if got := texts(plan.Create); !slices.Equal(got, row.want) {
				t.Errorf("got  %q\nwant %q", got, row.want)
			}
		})
	}
}

func TestSliceMetadata(t *testing.T) {
	s := snapshot(service(), []*corev1.Pod{pod(0, func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "a", "web" })}, nil)
	s.Trigger = time.Unix(100, 0)
	slice := Desired(s).Create[0]
	labels := map[string]string{
		"team": "a", "kubernetes.io/service-name": "web",
		"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
	}
	if !maps.Equal(slice.Labels, labels) {
		t.Errorf("labels %v, want %v", slice.Labels, labels)
	}
	if slice.GenerateName != "web-" || !metav1.IsControlledBy(slice, s.Service) ||
		slice.Annotations["endpoints.kubernetes.io/last-change-trigger-time"] != "1970-01-01T00:01:40Z" {
		t.Errorf("metadata %+v", slice.ObjectMeta)
	}
	e := slice.Endpoints[0]
	if *e.NodeName != "node1" || *e.Zone != "zone-node1" || *e.Hostname != "a" || e.TargetRef.Name != "web-0000" || e.Hints != nil {
		t.Errorf("endpoint %+v", e)
	}

	headless := snapshot(service(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }), nil, []*discoveryv1.EndpointSlice{slice})
	plan := Desired(headless)
	if len(plan.Update) != 1 || len(plan.Create)+len(plan.Delete) != 0 {
		t.Fatalf("plan %+v, want the one slice updated", plan)
	}
	if v, ok := plan.Update[0].Labels["service.kubernetes.io/headless"]; !ok || v != "" {
		t.Errorf("labels %v, want the headless one", plan.Update[0].Labels)
	}
	if _, ok := plan.Update[0].Annotations["endpoints.kubernetes.io/last-change-trigger-time"]; ok {
		t.Error("the trigger time of an earlier change stayed")
	}
}

func TestP27Hints(t *testing.T) {
	for distribution, want := range map[string]string{
		"":               "nil",
		"PreferClose":    "&EndpointHints{ForZones:[]ForZone{ForZone{Name:zone-node1,},},ForNodes:[]ForNode{},}",
		"PreferSameZone": "&EndpointHints{ForZones:[]ForZone{ForZone{Name:zone-node1,},},ForNodes:[]ForNode{},}",
		"PreferSameNode": "&EndpointHints{ForZones:[]ForZone{ForZone{Name:zone-node1,},},ForNodes:[]ForNode{ForNode{Name:node1,},},}",
	} {
		svc := service(func(s *corev1.Service) { s.Spec.TrafficDistribution = &distribution })
		endpoints := Desired(snapshot(svc, []*corev1.Pod{pod(0), pod(1, notReady)}, nil)).Create[0].Endpoints
		if got := endpoints[0].Hints.String(); got != want {
			t.Errorf("%q: %s, want %s", distribution, got, want)
		}
		if endpoints[1].Hints != nil {
			t.Errorf("%q: an endpoint that is not ready has hints", distribution)
		}
	}
}

// TestForeignSlices: slices of a Service's predecessor, of an address family that the
// Service no longer has, and on their way out are not reused.
func TestForeignSlices(t *testing.T) {
	with := func(name string, change func(*discoveryv1.EndpointSlice)) *discoveryv1.EndpointSlice {
		s := Desired(snapshot(service(), []*corev1.Pod{pod(0)}, nil)).Create[0]
		s.Name = name
		change(s)
		return s
	}
	plan := Desired(snapshot(service(), []*corev1.Pod{pod(0)}, []*discoveryv1.EndpointSlice{
		with("predecessor", func(s *discoveryv1.EndpointSlice) { s.OwnerReferences[0].UID = "other" }),
		with("v6", func(s *discoveryv1.EndpointSlice) { s.AddressType = discoveryv1.AddressTypeIPv6 }),
		with("leaving", terminatingSlice),
	}))
	var deleted []string
	for _, s := range plan.Delete {
		deleted = append(deleted, s.Name)
	}
	if !slices.Equal(deleted, []string{"predecessor", "v6"}) || len(plan.Create) != 1 || len(plan.Update) != 0 {
		t.Errorf("deleted %q, %d created, %d updated", deleted, len(plan.Create), len(plan.Update))
	}
}

func terminatingSlice(s *discoveryv1.EndpointSlice) {
	s.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
}

// TestPacking changes a random set of Pods again and again and checks what must hold
// after each step.
func TestPacking(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := &world{slices: map[string]*discoveryv1.EndpointSlice{}}
		pods, next := map[int]*corev1.Pod{}, 0
		svc := service()
		for step := range 40 {
			changed := 0
			switch rng.IntN(4) {
			case 0: // scale up
				for range rng.IntN(150) {
					pods[next] = pod(next, onPort(8080+rng.Int32N(2)))
					next++
				}
				changed = -1
			case 1: // scale down
				for i := range pods {
					if rng.IntN(3) == 0 {
						delete(pods, i)
					}
				}
				changed = -1
			case 2: // one Pod flips
				for i, p := range pods {
					q := p.DeepCopy()
					if q.Status.Conditions[0].Status == corev1.ConditionTrue {
						notReady(q)
					} else {
						q.Status.Conditions[0].Status = corev1.ConditionTrue
					}
					pods[i], changed = q, 1
					break
				}
			case 3: // one Pod is replaced
				for i, p := range pods {
					pods[next] = pod(next, onPort(p.Spec.Containers[0].Ports[0].ContainerPort))
					delete(pods, i)
					next++
					changed = 1
					break
				}
			}
			if len(w.slices) == 0 {
				changed = -1 // the first slice is made even for no Pod
			}
			list := slices.Collect(maps.Values(pods))
			writes := w.apply(Desired(snapshot(svc, list, w.list())))
			if changed >= 0 && writes > changed {
				t.Fatalf("seed %d step %d: %d writes for %d changes", seed, step, writes, changed)
			}
			checkSlices(t, w.list(), pods)
			if again := w.apply(Desired(snapshot(svc, list, w.list()))); again != 0 {
				t.Fatalf("seed %d step %d: %d writes although nothing changed", seed, step, again)
			}
		}
	}
}

// checkSlices checks that every Pod is in exactly one slice, of its port, as ready as
// it is, and that no slice is too full or needlessly empty.
func checkSlices(t *testing.T, all []*discoveryv1.EndpointSlice, pods map[int]*corev1.Pod) {
	t.Helper()
	byUID := map[types.UID]*corev1.Pod{}
	for _, p := range pods {
		byUID[p.UID] = p
	}
	seen := map[types.UID]bool{}
	for _, s := range all {
		if len(s.Endpoints) > maxEndpoints || len(s.Endpoints) == 0 && len(all) > 1 {
			t.Fatalf("slice %s of %d has %d endpoints", s.Name, len(all), len(s.Endpoints))
		}
		for _, e := range s.Endpoints {
			p := byUID[e.TargetRef.UID]
			switch {
			case p == nil:
				t.Fatalf("%s is no pod any more", e.TargetRef.Name)
			case seen[p.UID]:
				t.Fatalf("%s is there twice", p.Name)
			case *s.Ports[0].Port != p.Spec.Containers[0].Ports[0].ContainerPort:
				t.Fatalf("%s is in a slice with port %d", p.Name, *s.Ports[0].Port)
			case *e.Conditions.Ready != (p.Status.Conditions[0].Status == corev1.ConditionTrue):
				t.Fatalf("%s: ready is %v", p.Name, *e.Conditions.Ready)
			}
			seen[p.UID] = true
		}
	}
	if len(seen) != len(pods) {
		t.Fatalf("%d of %d pods are endpoints", len(seen), len(pods))
	}
	if len(all) == 0 {
		t.Fatal("no slice at all")
	}
}
