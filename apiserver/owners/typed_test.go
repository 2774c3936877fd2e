package owners

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// TestTrusting: whoever trusts an object's type finds the same differences as who
// checks it against the schema.
func TestTrusting(t *testing.T) {
	checking := applyconfigurations.NewTypeConverter(scheme.Scheme)
	trusting := &trusting{TypeConverter: checking}
	deployment := func(replicas int32, pods ...*corev1.Pod) *appsv1.Deployment {
		d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &replicas}}
		for _, p := range pods {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, p.Spec.Containers...)
		}
		return d
	}
	service := func(ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{Spec: corev1.ServiceSpec{Ports: ports, ClusterIPs: []string{"10.96.0.7"}}}
	}
	other := pod()
	other.Spec.Containers[0].Env[0].Value, other.Spec.Containers[0].Ports = "2", nil
	pods, services, deployments := corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithKind("Service"), appsv1.SchemeGroupVersion.WithKind("Deployment")
	for _, test := range []struct {
		name string
		a, b runtime.Object
	}{
		{"new", &corev1.Pod{}, pod()},
		{"changed", pod(), other},
		{"gone", pod(), &corev1.Pod{}},
		{"nested", deployment(1), deployment(2, pod())},
		{"two of one key", deployment(1, pod()), deployment(1, pod(), other)},
		{"an item without its key", service(), service(corev1.ServicePort{Port: 80}, corev1.ServicePort{Name: "x"})},
		{"a set", service(), service(corev1.ServicePort{Port: 80, Protocol: "TCP"})},
	} {
		for _, o := range []runtime.Object{test.a, test.b} {
			switch o.(type) {
			case *corev1.Pod:
				o.GetObjectKind().SetGroupVersionKind(pods)
			case *corev1.Service:
				o.GetObjectKind().SetGroupVersionKind(services)
			default:
				o.GetObjectKind().SetGroupVersionKind(deployments)
			}
		}
		compare := func(a, b *typed.TypedValue, errs ...error) *typed.Comparison {
			t.Helper()
			for _, err := range errs {
				if err != nil {
					return nil
				}
			}
			c, err := a.Compare(b)
			if err != nil {
				return nil
			}
			return c
		}
		for range 2 { // the first object of a kind is checked
			a, errA := checking.ObjectToTyped(test.a, typed.AllowDuplicates)
			b, errB := checking.ObjectToTyped(test.b, typed.AllowDuplicates)
			want := compare(a, b, errA, errB)
			a, errA = trusting.ObjectToTyped(test.a, typed.AllowDuplicates)
			b, errB = trusting.ObjectToTyped(test.b, typed.AllowDuplicates)
			got := compare(a, b, errA, errB)
			if (got == nil) != (want == nil) || got != nil && !equality.Semantic.DeepEqual(got.String(), want.String()) {
				t.Errorf("%s:\n%v\nand with the check\n%v", test.name, got, want)
			}
			if got == nil && test.name != "an item without its key" || got != nil && got.IsSame() {
				t.Errorf("%s: no difference", test.name)
			}
		}
	}
}
