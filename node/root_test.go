package node

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"orrery.example.org/node/workload"
)

// busyboxTree makes a root directory in which a static busybox is all there is.
func busyboxTree(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err == nil {
		var file *elf.File
		if file, err = elf.NewFile(bytes.NewReader(program)); err == nil && slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			err = fmt.Errorf("/bin/busybox is not static")
		}
	}
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("a static busybox is needed (Debian: busybox-static): %v", err)
	default:
		t.Skipf("a static busybox is needed (Debian: busybox-static): %v", err)
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	for _, d := range []string{"bin", "etc", "own", "var"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(dir, "bin/busybox"), program, 0o755))
	for _, name := range []string{"cat", "echo", "find", "grep", "hostname", "id", "ls", "mkdir", "printenv", "pwd", "readlink", "sh", "sleep", "stat", "tar", "touch"} {
		must(t, os.Symlink("busybox", filepath.Join(dir, "bin", name)))
	}
	must(t, os.WriteFile(filepath.Join(dir, "own/greet"), []byte("#!/bin/sh\necho hello from $FROM\n"), 0o755))
	must(t, writeFile(filepath.Join(dir, "etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:101:82::/srv/web:/bin/sh\n"))
	must(t, writeFile(filepath.Join(dir, "etc/group"), "www:x:82:\nlog:x:20:web\n"))
	must(t, os.Symlink("../run/nobody/resolv.conf", filepath.Join(dir, "etc/resolv.conf"))) // as many trees have it
	must(t, os.Symlink("/run", filepath.Join(dir, "var/run")))
	return dir
}

// contents lists what is in a directory, with what tells of a change.
func contents(t *testing.T, dir string) (all []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, fmt.Sprint(path, info.Mode(), info.Size(), info.ModTime()))
		}
		return err
	}))
	return all
}

// startWithTree is a node whose catalog has the tree, by two names.
func startWithTree(t *testing.T) (c *cluster, dir string) {
	dir = busyboxTree(t)
	untilEnd := []string{"/bin/sh", "-c", "until [ -e /end ]; do sleep 0.05; done"}
	env := []string{"PATH=/own:/bin", "FROM=image", "LEVEL=image"}
	c = startClusterWith(t, func(cfg *Config) {
		cfg.Images = append(cfg.Images,
			workload.Image{Name: "tree", Root: dir, Command: untilEnd, Env: env, WorkingDir: "/work/here"},
			workload.Image{Name: "webtree", Root: dir, Command: untilEnd, Env: env, User: "web"},
			workload.Image{Name: "silent", Root: dir},
			workload.Image{Name: "gone", Root: dir + "/nowhere"})
	}, "node1")
	return c, dir
}

func TestStoryRootDirectory(t *testing.T) {
	c, dir := startWithTree(t)
	before := contents(t, dir)
	c.secret("app", map[string]string{"password": "s3cret"})
	c.pod("node1", "box", "registry.example:5000/team/tree:1@sha256:"+strings.Repeat("0123456789abcdef", 4), beside("sleep", "1002"),
		withVolume("secret", "/var/run/secrets/app", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "app"}}),
		withVolume("data", "/data", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
		func(s *corev1.PodSpec) {
			s.Containers[0].Env = []corev1.EnvVar{{Name: "LEVEL", Value: "container"}}
			s.Containers[0].ReadinessProbe = &corev1.Probe{
				ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"greet"}}}, PeriodSeconds: 1, TimeoutSeconds: 20, FailureThreshold: 3, SuccessThreshold: 1,
			}
		})
	c.ready("box")
	for script, want := range map[string]string{
		"ls / /own":                             "/:\nbin\ndata\ndev\netc\nown\nproc\nrun\nsys\ntmp\nvar\nwork\n\n/own:\ngreet\n",
		"greet; echo $LEVEL; pwd; echo $HOME":   "hello from image\ncontainer\n/work/here\n/\n",
		"grep nameserver /etc/resolv.conf":      "nameserver 10.96.0.10\n",
		"cat /etc/hostname; hostname":           "box\nbox\n",
		"grep -c Kubernetes-managed /etc/hosts": "1\n",
		"cat /var/run/secrets/app/password":     "s3cret",
		"ls /proc/1/root/own; ls /proc | grep -c '^[0-9]*[02468]$' >/dev/null && echo seen": "greet\nseen\n",
		"cat /proc/1/comm": "sh\n",
		"echo x >/dev/null && ls /dev/zero && echo m >/dev/shm/m && cat /dev/shm/m": "/dev/zero\nm\n",
		"stat -c %a /tmp /":                        "1777\n755\n",
		"ls -d /sys/class":                         "/sys/class\n",
		"echo there >/data/x && cat /data/x":       "there\n",
		"grep -c ' /host\\| /orrery' /proc/mounts": "0\n",
	} {
		if got, err := c.execIn("node1", "box", "sh", "-c", script); got != want {
			t.Errorf("%s: %q, want %q (%v)", script, got, want, err)
		}
	}
	if _, err := c.execIn("node1", "box", "curl", "--version"); err == nil || !strings.Contains(err.Error(), `exec: "curl": executable file not found in $PATH`) {
		t.Errorf("a program of the node: %v", err)
	}
	c.mustExec("node1", "box", "sh", "-c", "echo mine >/marker; echo x >/bin/sleep2; echo changed >/etc/group; mkdir /own/dir")
	c.lookFromOutside("box")
	if after := contents(t, dir); !slices.Equal(before, after) {
		t.Errorf("the shared directory changed:\n%v\n%v", before, after)
	}
	// A restarted container begins with nothing of that, but for its volumes.
	c.mustExec("node1", "box", "touch", "/end")
	c.await("box", "restarted", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].RestartCount == 1 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	if got := c.mustExec("node1", "box", "sh", "-c", "ls -d /marker /end /own/dir 2>/dev/null; cat /data/x /etc/group"); got != "there\nwww:x:82:\nlog:x:20:web\n" {
		t.Errorf("after a restart: %q", got)
	}
	pods := c.nodes["node1"].agent.podsDir()
	if layers, err := filepath.Glob(filepath.Join(pods, "*", "layer-*")); err != nil || len(layers) != 1 {
		t.Errorf("layers %v, %v", layers, err)
	}
	c.delete("box", 0)
	c.awaitGone("box")
	c.eventually("no directories of Pods", func() error {
		names, err := readDirNames(pods)
		if err == nil && len(names) > 0 {
			err = fmt.Errorf("%v", names)
		}
		return err
	})
}

// lookFromOutside has a container with the node's files look into a container with its own.
func (c *cluster) lookFromOutside(pod string) {
	c.t.Helper()
	c.debug(pod, corev1.EphemeralContainer{
		TargetContainerName:      "main",
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger", Image: "busybox", Command: []string{"sleep", "1003"}},
	})
	c.eventually("debugging", func() error {
		var out buffer
		err := c.nodes["node1"].agent.ExecInContainer(c.ctx, "default/"+pod, "", "debugger", []string{"cat", "/proc/1/root/marker"}, nil, &out, &out, false, nil, 0)
		if err == nil && out.String() != "mine\n" {
			err = fmt.Errorf("it sees %q", out.String())
		}
		return err
	})
}

func TestStoryRootDirectoryAndUsers(t *testing.T) {
	c, _ := startWithTree(t)
	shut := func(s *corev1.PodSpec) {
		s.Containers[0].SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)}
	}
	c.pod("node1", "web", "webtree")
	c.pod("node1", "shut", "tree", shut, withVolume("data", "/data", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	c.ready("web")
	c.ready("shut")
	if os.Getenv(insideVariable) == "" {
		if got := c.mustExec("node1", "web", "sh", "-c", "id -u; id -g; id -G; echo $HOME; touch /x 2>/dev/null || echo refused"); got != "101\n82\n82 20\n/srv/web\nrefused\n" {
			t.Errorf("the image's user: %q", got)
		}
	}
	if got := c.mustExec("node1", "shut", "sh", "-c", "touch /x 2>/dev/null || echo refused; touch /data/x /dev/shm/x && echo volumes"); got != "refused\nvolumes\n" {
		t.Errorf("with a read-only root directory: %q", got)
	}
}

// TestStoryFilesInARootDirectory does what ctl cp does.
func TestStoryFilesInARootDirectory(t *testing.T) {
	c, _ := startWithTree(t)
	c.pod("node1", "box", "tree")
	c.ready("box")
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	must(t, w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: 3}))
	_, err := w.Write([]byte("hi\n"))
	must(t, err)
	must(t, w.Close())
	var out buffer
	err = c.nodes["node1"].agent.ExecInContainer(c.ctx, "default/box", "", "main", []string{"tar", "-xmf", "-", "-C", "/tmp"}, &archive, &out, &out, false, nil, 0)
	if err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if got := c.mustExec("node1", "box", "cat", "/tmp/hello"); got != "hi\n" {
		t.Errorf("the file has %q", got)
	}
}

// TestStoryImagesThatCannotRun looks at the reasons.
func TestStoryImagesThatCannotRun(t *testing.T) {
	c, dir := startWithTree(t)
	for _, row := range []struct {
		name, image string
		policy      corev1.PullPolicy
		reason      string
		message     string
	}{
		{"unknown", "example.org/redis:7", corev1.PullIfNotPresent, "ErrImagePull", `image "example.org/redis:7" is not in this node's catalog; available: agnhost, alpine, `},
		{"gone", "gone", corev1.PullAlways, "ErrImagePull", `the root directory of image "gone" in this node's catalog: stat ` + dir + "/nowhere: no such file"},
		{"never", "redis", corev1.PullNever, "ErrImageNeverPull", `Container image "redis" is not present with pull policy of Never`},
		{"invalid", "Redis:7", corev1.PullAlways, "InvalidImageName", `Failed to apply default image tag "Redis:7": couldn't parse image name "Redis:7": invalid reference format: repository name (library/Redis) must be lowercase`},
		{"silent", "silent", corev1.PullNever, "CreateContainerError", "no command specified"},
	} {
		c.pod("node1", row.name, row.image, func(s *corev1.PodSpec) { s.Containers[0].ImagePullPolicy = row.policy })
		c.await(row.name, row.reason, func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 1 && s[0].State.Waiting != nil &&
				(s[0].State.Waiting.Reason == row.reason || row.reason == "ErrImagePull" && s[0].State.Waiting.Reason == "ImagePullBackOff") &&
				strings.Contains(s[0].State.Waiting.Message, row.message)
		})
	}
	// Unpacked where the catalog expects it, the image can run.
	must(t, os.Mkdir(dir+"/nowhere", 0o755))
	c.pod("node1", "came", "gone", command("/none"))
	c.await("came", "tried", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].LastTerminationState.Terminated != nil && s[0].LastTerminationState.Terminated.Reason == "StartError"
	})
}
