package endpoints

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func service(change ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, ClusterIP: "10.96.0.7", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")}},
		},
	}
	for _, f := range change {
		f(svc)
	}
	return svc
}

func headless(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }

func pod(i int, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("web-", i), Namespace: "default", UID: types.UID(fmt.Sprint(i))},
		Spec:       corev1.PodSpec{NodeName: "node1", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
		Status: corev1.PodStatus{
			PodIPs:     []corev1.PodIP{{IP: fmt.Sprintf("10.244.%d.%d", i/250, i%250+2)}, {IP: fmt.Sprintf("fd00::%x", i+2)}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func notReady(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

// text renders subsets: ready addresses, those that are not in brackets, ports.
func text(subsets []corev1.EndpointSubset) string {
	var out []string
	for _, s := range subsets {
		var parts []string
		for _, a := range s.Addresses {
			parts = append(parts, a.IP)
		}
		for _, a := range s.NotReadyAddresses {
			parts = append(parts, "("+a.IP+")")
		}
		for _, p := range s.Ports {
			parts = append(parts, fmt.Sprintf("%s:%d", p.Name, p.Port))
		}
		out = append(out, strings.Join(parts, " "))
	}
	return strings.Join(out, "; ")
}

func TestSubsets(t *testing.T) {
	ending := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	for _, row := range []struct {
		name string
		svc  *corev1.Service
		pods []*corev1.Pod
		want string
	}{
		{"none", service(), nil, ""},
		{"sorted by address", service(), []*corev1.Pod{pod(9), pod(1), pod(2, notReady)}, "10.244.0.3 10.244.0.11 (10.244.0.4) http:8080"},
		{"terminating ones are left out", service(), []*corev1.Pod{pod(1, ending), pod(2)}, "10.244.0.4 http:8080"},
		{"publishNotReadyAddresses", service(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }),
			[]*corev1.Pod{pod(1, ending), pod(2, notReady)}, "10.244.0.3 10.244.0.4 http:8080"},
		{"different numbers of a named port", service(), []*corev1.Pod{pod(1), pod(2, func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9090 })},
			"10.244.0.3 http:8080; 10.244.0.4 http:9090"},
		{"a pod without the port", service(), []*corev1.Pod{pod(1, func(p *corev1.Pod) { p.Spec.Containers = nil })}, ""},
		{"headless without ports", service(headless, func(s *corev1.Service) { s.Spec.Ports = nil }), []*corev1.Pod{pod(1)}, "10.244.0.3"},
		{"the primary family only", service(func(s *corev1.Service) {
			s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		}), []*corev1.Pod{pod(1)}, "fd00::3 http:8080"},
		{"a job's pod that failed for good", service(), []*corev1.Pod{pod(1, notReady, func(p *corev1.Pod) {
			p.Spec.RestartPolicy, p.Status.Phase = corev1.RestartPolicyNever, corev1.PodFailed
		})}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := text(subsetsOf(row.svc, row.pods)); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestDesired(t *testing.T) {
	svc, pods := service(headless), []*corev1.Pod{pod(1), pod(2)}
	first, differs := Desired(svc, pods, nil, time.Unix(100, 0))
	labels := map[string]string{"team": "a", "endpoints.kubernetes.io/managed-by": "endpoint-controller", "service.kubernetes.io/headless": ""}
	if !differs || !maps.Equal(first.Labels, labels) || first.Name != "web" ||
		first.Annotations["endpoints.kubernetes.io/last-change-trigger-time"] != "1970-01-01T00:01:40Z" {
		t.Errorf("%+v", first.ObjectMeta)
	}
	slices.Reverse(pods)
	if _, differs := Desired(svc, pods, first, time.Unix(200, 0)); differs {
		t.Error("the same Pods in another order make a difference")
	}
	notReady(pods[0])
	second, differs := Desired(svc, pods, first, time.Time{})
	if !differs || second.Annotations["endpoints.kubernetes.io/last-change-trigger-time"] != "" {
		t.Errorf("differs %v, %+v", differs, second.Annotations)
	}
	if len(first.Subsets[0].Addresses) != 2 {
		t.Error("the object in the cache was changed")
	}
}

func TestTruncate(t *testing.T) {
	for _, row := range []struct{ ready, notReady, wantReady, wantNotReady int }{
		{600, 400, 600, 400}, {700, 400, 700, 300}, {1200, 300, 1000, 0},
	} {
		var pods []*corev1.Pod
		for i := range row.ready + row.notReady {
			change := []func(*corev1.Pod){func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = int32(8080 + i%3) }}
			if i >= row.ready {
				change = append(change, notReady)
			}
			pods = append(pods, pod(i, change...))
		}
		e, _ := Desired(service(), pods, nil, time.Time{})
		var ready, not int
		for _, s := range e.Subsets {
			ready, not = ready+len(s.Addresses), not+len(s.NotReadyAddresses)
		}
		over := e.Annotations["endpoints.kubernetes.io/over-capacity"]
		if ready != row.wantReady || not != row.wantNotReady || (over == "truncated") != (row.ready+row.notReady > 1000) {
			t.Errorf("%d ready and %d others became %d and %d, annotation %q", row.ready, row.notReady, ready, not, over)
		}
		if _, differs := Desired(service(), pods, e, time.Time{}); differs {
			t.Error("not stable")
		}
	}
}
