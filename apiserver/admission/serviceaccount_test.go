package admission

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

func account(name string, change func(*corev1.ServiceAccount)) *corev1.ServiceAccount {
	a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	if change != nil {
		change(a)
	}
	return a
}

func create(t *testing.T, pod *corev1.Pod, c Cluster) error {
	t.Helper()
	return serviceAccount(t.Context(), &Attributes{Operation: Create, Kind: podKind(t), Namespace: "shop", Name: "web", Object: pod, Cluster: c})
}

func TestAccess(t *testing.T) {
	accounts := cluster([]*corev1.ServiceAccount{
		account("default", nil),
		account("quiet", func(a *corev1.ServiceAccount) { a.AutomountServiceAccountToken = new(false) }),
		account("puller", func(a *corev1.ServiceAccount) { a.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}} }),
	})
	at := func(names ...string) []corev1.VolumeMount {
		var all []corev1.VolumeMount
		for _, name := range names {
			all = append(all, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: accessPath})
		}
		return all
	}
	two := func() corev1.PodSpec {
		return corev1.PodSpec{InitContainers: []corev1.Container{{Name: "i"}}, Containers: []corev1.Container{{Name: "c"}}}
	}
	with := func(s corev1.PodSpec, change func(*corev1.PodSpec)) corev1.PodSpec {
		change(&s)
		return s
	}
	for _, c := range []struct {
		name   string
		in     corev1.PodSpec
		mounts string // "init main", by the volume's name; the generated one is "*"
		added  bool
		runsAs string
		pulls  int
	}{
		{"every container", two(), "* *", true, "default", 0},
		{"not where something else is", with(two(), func(s *corev1.PodSpec) {
			s.Containers[0].VolumeMounts = at("mine")
		}), "* mine", true, "default", 0},
		{"nowhere, so no volume", with(two(), func(s *corev1.PodSpec) {
			s.Containers[0].VolumeMounts, s.InitContainers[0].VolumeMounts = at("mine"), at("mine")
		}), "mine mine", false, "default", 0},
		{"its own volume", with(two(), func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "kube-api-access-mine"}}
		}), "kube-api-access-mine kube-api-access-mine", false, "default", 0},
		{"the account doesn't want to", with(two(), func(s *corev1.PodSpec) { s.ServiceAccountName = "quiet" }), " ", false, "quiet", 0},
		{"the Pod's word counts", with(two(), func(s *corev1.PodSpec) {
			s.ServiceAccountName, s.AutomountServiceAccountToken = "quiet", new(true)
		}), "* *", true, "quiet", 0},
		{"the Pod doesn't want to", with(two(), func(s *corev1.PodSpec) { s.AutomountServiceAccountToken = new(false) }), " ", false, "default", 0},
		{"image pull secrets", with(two(), func(s *corev1.PodSpec) { s.ServiceAccountName = "puller" }), "* *", true, "puller", 1},
		{"its own ones", with(two(), func(s *corev1.PodSpec) {
			s.ServiceAccountName, s.ImagePullSecrets = "puller", []corev1.LocalObjectReference{{Name: "a"}, {Name: "b"}}
		}), "* *", true, "puller", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: c.in}
			volumes := len(c.in.Volumes)
			if err := create(t, pod, accounts); err != nil {
				t.Fatal(err)
			}
			generated := ""
			if added := len(pod.Spec.Volumes) > volumes; added != c.added {
				t.Fatalf("volumes %v", pod.Spec.Volumes)
			} else if added {
				v := pod.Spec.Volumes[volumes]
				generated = v.Name
				if !strings.HasPrefix(generated, accessVolume) || len(generated) != len(accessVolume)+5 {
					t.Errorf("the volume is called %q", generated)
				}
				if diff := cmp.Diff(access(), v.Projected); diff != "" {
					t.Error(diff)
				}
			}
			mount := func(c corev1.Container) string {
				for _, m := range c.VolumeMounts {
					if m.Name == generated {
						return "*"
					}
					return m.Name
				}
				return ""
			}
			if got := mount(pod.Spec.InitContainers[0]) + " " + mount(pod.Spec.Containers[0]); got != c.mounts {
				t.Errorf("mounts %q, want %q", got, c.mounts)
			}
			if pod.Spec.ServiceAccountName != c.runsAs || pod.Spec.DeprecatedServiceAccount != c.runsAs || len(pod.Spec.ImagePullSecrets) != c.pulls {
				t.Errorf("runs as %s, pulls with %v", pod.Spec.ServiceAccountName, pod.Spec.ImagePullSecrets)
			}
		})
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "nobody"}}
	want := `pods "web" is forbidden: error looking up service account shop/nobody: serviceaccount "nobody" not found`
	if err := create(t, pod, accounts); err == nil || err.Error() != want {
		t.Errorf("no such account: %v", err)
	}
}

// late is a cluster in which an account appears after a while.
type late struct {
	stored
	asked int
	after time.Time
}

func (l *late) Get(ctx context.Context, gr schema.GroupResource, namespace, name string) (api.Object, error) {
	l.asked++
	if time.Now().Before(l.after) {
		return stored(nil).Get(ctx, gr, namespace, name)
	}
	return l.stored.Get(ctx, gr, namespace, name)
}

// TestDefaultAccountIsAwaited: a controller makes it, a moment after the namespace.
func TestDefaultAccountIsAwaited(t *testing.T) {
	accounts := cluster([]*corev1.ServiceAccount{account("default", nil)})
	synctest.Test(t, func(t *testing.T) {
		soon := &late{stored: accounts, after: time.Now().Add(20 * time.Millisecond)}
		if err := create(t, &corev1.Pod{}, soon); err != nil {
			t.Error(err)
		}
		never := &late{after: time.Now().Add(time.Hour)}
		start := time.Now()
		err := create(t, &corev1.Pod{}, never)
		if err == nil || never.asked != lookups || time.Since(start) < time.Second || time.Since(start) > 2*time.Second {
			t.Errorf("%v after %v and %d lookups", err, time.Since(start), never.asked)
		}
		other := &late{after: time.Now().Add(time.Hour)}
		if err := create(t, &corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "x"}}, other); err == nil || other.asked != 1 {
			t.Errorf("another account: %v after %d lookups", err, other.asked)
		}
	})
}

func TestMirrorPods(t *testing.T) {
	for _, c := range []struct {
		name string
		spec corev1.PodSpec
		want string
	}{
		{"plain", corev1.PodSpec{Containers: []corev1.Container{{}}}, ""},
		{"an account", corev1.PodSpec{ServiceAccountName: "default"}, "a mirror pod may not reference service accounts"},
		{"a Secret", corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}}}},
			"a mirror pod may not reference secrets"},
		{"a Secret's variable", corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}}}}}},
			"a mirror pod may not reference secrets"},
		{"a token", corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: access()}}}},
			"a mirror pod may not use ServiceAccountToken volume projections"},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}}, Spec: c.spec}
		err := create(t, pod, stored(nil))
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != `pods "web" is forbidden: `+c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if diff := cmp.Diff(c.spec, pod.Spec); diff != "" {
			t.Errorf("%s was changed: %s", c.name, diff)
		}
	}
}
