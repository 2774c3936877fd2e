package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"orrery.example.org/node/workload"
)

func TestIdentify(t *testing.T) {
	type pod = corev1.PodSecurityContext
	type container = corev1.SecurityContext
	dir, host := t.TempDir(), workload.Image{}
	must(t, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
	must(t, writeFile(filepath.Join(dir, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:101:82::/srv/web:/bin/sh\n"))
	must(t, writeFile(filepath.Join(dir, "etc/group"), "root:x:0:root\nlog:x:20:web\nwww:x:33:\n"))
	tree := func(user string) workload.Image { return workload.Image{Root: dir, User: user} }
	for name, row := range map[string]struct {
		pod       *pod
		container *container
		image     workload.Image
		want      string
	}{
		"nothing said":           {nil, nil, host, "<nil> /root"},
		"the Pod's":              {&pod{RunAsUser: ptr.To(int64(7)), RunAsGroup: ptr.To(int64(8))}, nil, host, "7 8 [] /root"},
		"the container's first":  {&pod{RunAsUser: ptr.To(int64(7)), RunAsGroup: ptr.To(int64(8))}, &container{RunAsUser: ptr.To(int64(9))}, host, "9 8 [] /root"},
		"more groups":            {&pod{SupplementalGroups: []int64{5}, FSGroup: ptr.To(int64(6))}, nil, host, "0 0 [5 6] /root"},
		"not root":               {&pod{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To(int64(7))}, nil, host, "7 0 [] /root"},
		"not root, but it is":    {&pod{RunAsNonRoot: ptr.To(true)}, nil, host, `container has runAsNonRoot and image will run as root (pod: "a_b(c)", container: main)`},
		"not root, but it wants": {&pod{RunAsNonRoot: ptr.To(true)}, &container{RunAsUser: ptr.To(int64(0))}, host, `container's runAsUser breaks non-root policy (pod: "a_b(c)", container: main)`},
		"the image's":            {nil, nil, tree("web"), "101 82 [20] /srv/web"},
		"its group":              {nil, nil, tree("web:www"), "101 33 [] /srv/web"},
		"instead of the image's": {&pod{RunAsUser: ptr.To(int64(7)), RunAsGroup: ptr.To(int64(8))}, nil, tree("web"), "7 8 [] /"},
		"one it knows":           {nil, &container{RunAsUser: ptr.To(int64(101))}, tree(""), "101 82 [20] /srv/web"},
		"one it does not":        {nil, nil, tree("nobody"), "unable to find user nobody: no matching entries in passwd file"},
		"no more than asked for": {&pod{SupplementalGroupsPolicy: ptr.To(corev1.SupplementalGroupsPolicyStrict)}, nil, tree("web"), "101 82 [] /srv/web"},
		"root of the image":      {nil, nil, tree(""), "<nil> /root"},
		"not root, by name":      {&pod{RunAsNonRoot: ptr.To(true)}, nil, tree("web"), `container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root (pod: "a_b(c)", container: main)`},
		"not root, by number":    {&pod{RunAsNonRoot: ptr.To(true)}, nil, tree("101"), "101 82 [20] /srv/web"},
	} {
		object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", UID: "c"}, Spec: corev1.PodSpec{SecurityContext: row.pod}}
		id, home, err := identify(object, &corev1.Container{Name: "main", SecurityContext: row.container}, row.image)
		got := "<nil> " + home
		switch {
		case err != nil:
			got = err.Error()
		case id != nil:
			got = fmt.Sprint(id.Uid, " ", id.Gid, " ", id.Groups, " ", home)
		}
		if got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}

func TestMapped(t *testing.T) {
	const machine, lab = "         0          0 4294967295\n", "         0      65534          1\n      1000     100000       10\n"
	for _, row := range []struct {
		table string
		id    uint32
		want  bool
	}{
		{machine, 0, true}, {machine, 4294967294, true}, {machine, 4294967295, false},
		{lab, 0, true}, {lab, 1, false}, {lab, 999, false}, {lab, 1000, true}, {lab, 1009, true}, {lab, 1010, false},
		{"", 0, false}, {"x y z\n", 0, false},
	} {
		if got := mapped(row.table, row.id); got != row.want {
			t.Errorf("%d in %q: %v", row.id, row.table, got)
		}
	}
}

// TestStoryUsers looks at who a program is, and what it may read; where users cannot be
// had, at the event that says so.
func TestStoryUsers(t *testing.T) {
	c := startCluster(t, "node1")
	c.secret("app", map[string]string{"password": "s3cret"})
	c.pod("node1", "user", "busybox", command("sleep", "1001"),
		withVolume("data", "/data", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
		withVolume("secret", "/secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "app", DefaultMode: ptr.To[int32](0o400)}}),
		func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To(int64(1234)), RunAsGroup: ptr.To(int64(2345)), FSGroup: ptr.To(int64(3456))}
		})
	c.pod("node1", "root", "nginx", func(s *corev1.PodSpec) { s.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)} })
	c.ready("user")
	alone, who := os.Getenv(insideVariable) != "", "1234 2345 2345 3456\n3456\ns3cret"
	if alone {
		c.eventually("an event", func() error {
			if got := events(t, c.api, "user"); !slices.Contains(got, "UserNotAvailable") {
				return fmt.Errorf("events %v", got)
			}
			return nil
		})
		who = "0 0 "
	}
	got := c.mustExec("node1", "user", "sh", "-c", "echo $(id -u) $(id -g) $(id -G); touch /data/x; stat -c %g /data/x; cat /secret/password")
	if !strings.HasPrefix(got, who) {
		t.Errorf("in the Pod: %q, want %q", got, who)
	}
	if !alone {
		if got := c.mustExec("node1", "user", "sh", "-c", "grep -c '^Uid:.1234' /proc/1/status; touch /etc/x 2>/dev/null || echo refused"); got != "1\nrefused\n" {
			t.Errorf("the container's own program: %q", got)
		}
	}
	c.await("root", "refused", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CreateContainerConfigError" &&
			s[0].State.Waiting.Message == `container has runAsNonRoot and image will run as root (pod: "root_default(uid-root)", container: main)`
	})
}
