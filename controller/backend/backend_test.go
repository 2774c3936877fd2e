package backend

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/cache"
)

func TestPort(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{Name: "http", ContainerPort: 8080}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		}}},
		InitContainers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{Name: "setup", ContainerPort: 1}}},
			{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "proxy", ContainerPort: 9000}}},
		},
	}}
	for _, row := range []struct {
		target   intstr.IntOrString
		protocol corev1.Protocol
		want     int32 // 0: none
	}{
		{intstr.FromInt32(81), corev1.ProtocolTCP, 81},
		{intstr.FromInt32(0), corev1.ProtocolTCP, 80},
		{intstr.FromString("http"), corev1.ProtocolTCP, 8080},
		{intstr.FromString("http"), "", 8080},
		{intstr.FromString("http"), corev1.ProtocolUDP, 0},
		{intstr.FromString("dns"), corev1.ProtocolUDP, 53},
		{intstr.FromString("proxy"), corev1.ProtocolTCP, 9000},
		{intstr.FromString("setup"), corev1.ProtocolTCP, 0},
		{intstr.FromString("absent"), corev1.ProtocolTCP, 0},
	} {
		got, ok := Port(pod, &corev1.ServicePort{Port: 80, TargetPort: row.target, Protocol: row.protocol})
		if got != row.want || ok != (row.want != 0) {
			t.Errorf("%s/%s: %d %v, want %d", row.target.String(), row.protocol, got, ok, row.want)
		}
	}
}

func TestHostname(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "default"}}
	for _, row := range []struct{ namespace, hostname, subdomain, want string }{
		{"default", "db-0", "db", "db-0"}, {"default", "db-0", "other", ""}, {"other", "db-0", "db", ""}, {"default", "", "db", ""},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: row.namespace}, Spec: corev1.PodSpec{Hostname: row.hostname, Subdomain: row.subdomain}}
		if got := Hostname(pod, svc); got != row.want {
			t.Errorf("%+v: %q", row, got)
		}
	}
}

func TestIndex(t *testing.T) {
	x := &Index{
		pods:     cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{podsByLabel: labelKeys}),
		services: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{servicesBySelector: selectorKey}),
	}
	pod := func(ns, name string, labels map[string]string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}}
		_ = x.pods.Add(p)
		return p
	}
	svc := func(ns, name string, selector map[string]string) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{Selector: selector}}
		_ = x.services.Add(s)
		return s
	}
	web := svc("default", "web", map[string]string{"app": "web"})
	stable := svc("default", "stable", map[string]string{"app": "web", "track": "stable"})
	svc("default", "none", nil)
	svc("other", "web", map[string]string{"app": "web"})
	a := pod("default", "a", map[string]string{"app": "web", "track": "stable"})
	b := pod("default", "b", map[string]string{"app": "web", "track": "canary"})
	pod("other", "c", map[string]string{"app": "web"})
	plain := pod("default", "d", nil)

	names := func(s *corev1.Service) (out []string) {
		pods, err := x.Pods(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods {
			out = append(out, p.Name)
		}
		slices.Sort(out)
		return out
	}
	if got := names(web); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("pods of web: %q", got)
	}
	if got := names(stable); !slices.Equal(got, []string{"a"}) {
		t.Errorf("pods of stable: %q", got)
	}
	affected := func(old, cur *corev1.Pod) (out []string) {
		services, err := x.Affected(old, cur)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range services {
			out = append(out, s.String())
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("a new pod", affected(nil, a), "default/stable", "default/web")
	check("a pod that is gone", affected(b, nil), "default/web")
	check("a pod without labels", affected(nil, plain))
	check("nothing of interest changed", affected(a, a.DeepCopy()))
	ready := a.DeepCopy()
	ready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	check("readiness", affected(a, ready), "default/stable", "default/web")
	moved := a.DeepCopy()
	moved.Labels = map[string]string{"app": "web"}
	check("labels: the Services before and after", affected(a, moved), "default/stable", "default/web")
}

func TestTriggers(t *testing.T) {
	at := func(s int64) metav1.Time { return metav1.Unix(s, 0) }
	pod := func(name string, ready int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: at(1)}, Status: corev1.PodStatus{
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, LastTransitionTime: at(ready)}},
		}}
	}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", CreationTimestamp: at(50)}}
	tr := NewTriggers()
	check := func(what string, got time.Time, want int64) {
		t.Helper()
		if want == 0 && !got.IsZero() || want != 0 && got.Unix() != want {
			t.Errorf("%s: %v, want %d", what, got, want)
		}
	}
	check("a Service younger than its pods", tr.Last(svc, []*corev1.Pod{pod("a", 10), pod("b", 20)}), 50)
	check("nothing changed", tr.Last(svc, []*corev1.Pod{pod("a", 10), pod("b", 20)}), 0)
	check("two changed: the earlier", tr.Last(svc, []*corev1.Pod{pod("a", 70), pod("b", 60)}), 60)
	check("one is gone", tr.Last(svc, []*corev1.Pod{pod("a", 70)}), 0)
	check("one is new", tr.Last(svc, []*corev1.Pod{pod("a", 70), pod("c", 80)}), 80)
}
