package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// needs reads "cpu=1,memory=64Mi" as requests and the same as limits.
func needs(requests, limits string) (r corev1.ResourceRequirements) {
	for list, text := range map[*corev1.ResourceList]string{&r.Requests: requests, &r.Limits: limits} {
		for one := range strings.SplitSeq(text, ",") {
			if name, amount, found := strings.Cut(one, "="); found {
				if *list == nil {
					*list = corev1.ResourceList{}
				}
				(*list)[corev1.ResourceName(name)] = resource.MustParse(amount)
			}
		}
	}
	return r
}

func text(files Files) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all = append(all, name+"="+files[name])
	}
	return strings.Join(all, "; ")
}

func TestForContainer(t *testing.T) {
	for _, row := range []struct{ requests, limits, want string }{
		{"", "", "cpu.weight=1; memory.oom.group=1; memory.swap.max=0"},
		{"cpu=1", "", "cpu.weight=100; memory.oom.group=1; memory.swap.max=0"},
		{"cpu=500m,memory=1Gi", "", "cpu.weight=59; memory.oom.group=1; memory.swap.max=0"},
		{"", "cpu=250m,memory=64Mi", "cpu.max=25000 100000; cpu.weight=35; memory.max=67108864; memory.oom.group=1; memory.swap.max=0"},
		{"cpu=2", "cpu=4", "cpu.max=400000 100000; cpu.weight=174; memory.oom.group=1; memory.swap.max=0"},
		{"cpu=1m", "cpu=5m", "cpu.max=1000 100000; cpu.weight=1; memory.oom.group=1; memory.swap.max=0"},
		{"cpu=1k", "", "cpu.weight=10000; memory.oom.group=1; memory.swap.max=0"},
	} {
		c := corev1.Container{Resources: needs(row.requests, row.limits)}
		if got := text(ForContainer(&c)); got != row.want {
			t.Errorf("%+v: %s", row, got)
		}
	}
}

func TestForPod(t *testing.T) {
	container := func(requests, limits string) corev1.Container {
		return corev1.Container{Resources: needs(requests, limits)}
	}
	sidecar := container("cpu=1,memory=1Mi", "cpu=1,memory=1Mi")
	sidecar.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	const all = "cpu=1,memory=64Mi"
	for name, row := range map[string]struct {
		init, main []corev1.Container
		pids       int64
		want       string
	}{
		"nothing asked":      {nil, []corev1.Container{container("", "")}, -1, "cpu.weight=1; pids.max=max"},
		"guaranteed":         {nil, []corev1.Container{container(all, all), container(all, all)}, -1, "cpu.max=200000 100000; cpu.weight=174; memory.max=134217728; pids.max=max"},
		"one without limits": {nil, []corev1.Container{container(all, all), container("cpu=1", "")}, 7, "cpu.weight=174; pids.max=7"},
		"memory only":        {nil, []corev1.Container{container("cpu=1", "memory=1Mi"), container("", "memory=2Mi")}, -1, "cpu.weight=100; memory.max=3145728; pids.max=max"},
		"a large init":       {[]corev1.Container{container("cpu=4,memory=1Mi", "cpu=4,memory=1Mi")}, []corev1.Container{container(all, all)}, -1, "cpu.max=400000 100000; cpu.weight=303; memory.max=67108864; pids.max=max"},
		"a sidecar":          {[]corev1.Container{sidecar}, []corev1.Container{container(all, all)}, -1, "cpu.max=200000 100000; cpu.weight=174; memory.max=68157440; pids.max=max"},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: row.init, Containers: row.main}}
		if got := text(ForPod(pod, row.pids)); got != row.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestWhereItIs(t *testing.T) {
	const v1 = "25 20 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	for mounts, want := range map[string]string{
		v1: "",
		v1 + "30 20 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n": "/sys/fs/cgroup/unified",
		"30 20 0:26 / /sys/fs/cgroup rw shared:4 master:1 - cgroup2 cgroup2 rw\n":     "/sys/fs/cgroup",
		`30 20 0:26 / /a\040b rw - cgroup2 none rw`:                                   "/a b",
		"30 - cgroup2": "", "": "",
	} {
		if got := mountPoint(mounts); got != want {
			t.Errorf("%q: %q, want %q", mounts, got, want)
		}
	}
	for text, want := range map[string]string{"4:memory:/a\n0::/user.slice/x\n": "/user.slice/x", "0::/\n": "/", "4:memory:/a\n": "/"} {
		if got := ownPath(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestKilled(t *testing.T) {
	for events, want := range map[string]bool{
		"low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n": true,
		"max 12\noom 0\noom_kill 0\n":                                  false,
		"oom_kill":                                                     false, "": false,
	} {
		if got := killed(events); got != want {
			t.Errorf("%q: %v", events, got)
		}
	}
}

func FuzzWhereItIs(f *testing.F) {
	f.Add("30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n0::/a\noom_kill 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got := fmt.Sprint(mountPoint(text), ownPath(text), killed(text)); got == "" {
			t.Error("nothing")
		}
	})
}
