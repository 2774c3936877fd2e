package admission

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
)

// podKind is the table's row of Pods.
func podKind(t *testing.T) *api.Kind {
	t.Helper()
	for _, k := range api.Table {
		if k.Resource == "pods" {
			return k
		}
	}
	t.Fatal("no Pods in the table")
	return nil
}

// admitPod is what becomes of a new Pod in the plugins that need no other objects.
func admitPod(t *testing.T, pod *corev1.Pod) error {
	t.Helper()
	a := &Attributes{Operation: Create, Kind: podKind(t), Namespace: "default", Name: "web", Object: pod, Cluster: cluster(api.SystemPriorityClasses())}
	accounts := cluster([]*corev1.ServiceAccount{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}, AutomountServiceAccountToken: new(false),
	}})
	for _, admit := range []func() error{
		func() error {
			b := *a
			b.Cluster = accounts
			return serviceAccount(t.Context(), &b)
		},
		func() error { return priority(t.Context(), a) },
		func() error { return defaultTolerationSeconds(t.Context(), a) },
	} {
		if err := admit(); err != nil {
			return err
		}
	}
	return nil
}

func TestPod(t *testing.T) {
	toleration := func(key string) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))}
	}
	everything := corev1.Toleration{Operator: corev1.TolerationOpExists}
	for _, c := range []struct {
		name     string
		pod      corev1.Pod
		want     corev1.PodSpec
		wantFail string
	}{
		{"a plain one", corev1.Pod{}, corev1.PodSpec{
			ServiceAccountName: "default", DeprecatedServiceAccount: "default",
			Priority: new(int32(0)), PreemptionPolicy: new(corev1.PreemptLowerPriority),
			Tolerations: []corev1.Toleration{toleration("node.kubernetes.io/not-ready"), toleration("node.kubernetes.io/unreachable")},
		}, ""},
		{"a node's own", corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}},
			Spec:       corev1.PodSpec{PriorityClassName: "system-node-critical", Tolerations: []corev1.Toleration{everything}},
		}, corev1.PodSpec{
			PriorityClassName: "system-node-critical", Tolerations: []corev1.Toleration{everything},
			Priority: new(int32(2000001000)), PreemptionPolicy: new(corev1.PreemptLowerPriority),
		}, ""},
		{"unknown class", corev1.Pod{Spec: corev1.PodSpec{PriorityClassName: "gold"}}, corev1.PodSpec{},
			`pods "web" is forbidden: no PriorityClass with name gold was found`},
		{"a number of its own", corev1.Pod{Spec: corev1.PodSpec{Priority: new(int32(9))}}, corev1.PodSpec{},
			`pods "web" is forbidden: the integer value of priority (9) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := admitPod(t, &c.pod)
			if c.wantFail != "" {
				if err == nil || err.Error() != c.wantFail {
					t.Fatalf("got %v, want %s", err, c.wantFail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, c.pod.Spec); diff != "" {
				t.Error(diff)
			}
		})
	}
}
