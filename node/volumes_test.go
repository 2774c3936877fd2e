package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func (c *cluster) configMap(name string, data map[string]string) {
	c.t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: data}
	configMaps := c.api.CoreV1().ConfigMaps("default")
	if _, err := configMaps.Get(c.ctx, name, metav1.GetOptions{}); err == nil {
		_, err = configMaps.Update(c.ctx, object, metav1.UpdateOptions{})
		must(c.t, err)
		return
	}
	_, err := configMaps.Create(c.ctx, object, metav1.CreateOptions{})
	must(c.t, err)
}

func (c *cluster) secret(name string, data map[string]string) {
	c.t.Helper()
	object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string][]byte{}}
	for k, v := range data {
		object.Data[k] = []byte(v)
	}
	_, err := c.api.CoreV1().Secrets("default").Create(c.ctx, object, metav1.CreateOptions{})
	must(c.t, err)
}

// volume adds a volume to a Pod and mounts it in its container main.
func withVolume(name, path string, v corev1.VolumeSource, change ...func(*corev1.VolumeMount)) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		mount := corev1.VolumeMount{Name: name, MountPath: path}
		for _, f := range change {
			f(&mount)
		}
		s.Volumes = append(s.Volumes, corev1.Volume{Name: name, VolumeSource: v})
		s.Containers[0].VolumeMounts = append(s.Containers[0].VolumeMounts, mount)
	}
}

func configMapVolume(name string) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

func TestStoryVolumes(t *testing.T) {
	c := startCluster(t, "node1")
	c.configMap("app", map[string]string{"colour": "blue", "size": "9"})
	c.secret("app", map[string]string{"password": "s3cret"})
	shared := t.TempDir() // a hostPath
	must(t, writeFile(filepath.Join(shared, "seen"), "from the node"))
	first := withVolume("tmp", "/tmp", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	c.pod("node1", "all", "busybox", first, // on /tmp, where the test's directories and so all sources are
		withVolume("config", "/config", configMapVolume("app")),
		withVolume("one", "/etc/app/colour", configMapVolume("app"), func(m *corev1.VolumeMount) { m.SubPath = "colour" }),
		withVolume("secret", "/run/secrets/app", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "app", DefaultMode: ptr.To[int32](0o400)}}),
		withVolume("memory", "/cache", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse("64Ki"))}}),
		withVolume("host", "/host", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: shared}}),
		withVolume("host-ro", "/host-ro", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: shared}},
			func(m *corev1.VolumeMount) { m.ReadOnly = true }),
		withVolume("everything", "/everything", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "app"}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "about/name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}},
				{Path: "about/memory", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}},
			}}},
		}}}),
		func(s *corev1.PodSpec) {
			s.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("10Mi")}
			s.Containers = append(s.Containers, corev1.Container{
				Name: "beside", Image: "busybox", Command: []string{"sh", "-c", "echo shared > /data/file; test -e /config || echo alone; exec sleep 1000"},
				VolumeMounts: []corev1.VolumeMount{{Name: "tmp", MountPath: "/data"}},
			})
		})
	c.ready("all")
	for script, want := range map[string]string{
		"cat /config/colour /config/size; readlink /config/colour":                                                                     "blue9..data/colour\n",
		"cat /etc/app/colour; ls /etc/app; test -e /etc/hostname":                                                                      "bluecolour\n",
		"cat /run/secrets/app/password; stat -L -c %a /run/secrets/app/password; touch /run/secrets/app/x 2>/dev/null || echo refused": "s3cret400\nrefused\n",
		"stat -f -c %T /cache; head -c 100000 /dev/zero > /cache/x 2>/dev/null || echo full":                                           "tmpfs\nfull\n",
		"cat /host/seen; echo > /host/made; touch /host-ro/x 2>/dev/null || echo refused":                                              "from the noderefused\n",
		"cd /everything; cat password about/name about/memory; ls | tr '\\n' ' '":                                                      "s3cretall10about password ",
		"until test -e /tmp/file; do sleep 0.01; done; cat /tmp/file; mkdir -m 700 /tmp/own; rmdir /tmp/own":                           "shared\n",
	} {
		if got := c.mustExec("node1", "all", "sh", "-c", script); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(shared, "made")); err != nil {
		t.Errorf("what was written to a hostPath: %v", err)
	}
	for _, path := range []string{"/config", "/cache", "/everything", "/etc/app", "/run/secrets/app"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was made on the node", path)
		}
	}
	log, err := c.nodes["node1"].agent.OpenLog("default/all", "", "beside", false)
	must(t, err)
	var out buffer
	must(t, log.Read(c.ctx, &corev1.PodLogOptions{}, now(), &out))
	if out.String() != "alone\n" {
		t.Errorf("the container beside wrote %q", out.String())
	}
	c.delete("all", 0)
	c.awaitGone("all")
	c.eventually("no watch without a Pod", func() error {
		objects := c.nodes["node1"].agent.objects
		objects.mu.Lock()
		defer objects.mu.Unlock()
		if n := len(objects.watches); n != 0 {
			return fmt.Errorf("%d objects are watched", n)
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(shared, "seen")); err != nil {
		t.Errorf("the Pod's end took the hostPath along: %v", err)
	}
}

func TestStoryVolumesFollowChanges(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "late", "nginx", withVolume("html", "/usr/share/nginx/html", configMapVolume("pages")),
		withVolume("labels", "/labels", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}}))
	c.eventually("FailedMount", func() error {
		list, err := c.api.CoreV1().Events("").List(c.ctx, metav1.ListOptions{})
		must(t, err)
		for _, e := range list.Items {
			if e.Reason == "FailedMount" && e.Message == `MountVolume.SetUp failed for volume "html" : configmap "pages" not found` {
				return nil
			}
		}
		return fmt.Errorf("%d other events", len(list.Items))
	})
	c.await("late", "waiting", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ContainerCreating" && p.Status.PodIP == ""
	})
	c.configMap("pages", map[string]string{"index.html": "hello", "style.css": "css"})
	ip := c.ready("late").Status.PodIP
	get := func(path string) string {
		return c.run(c.nodes["node1"].host, "curl", "-sS", "--max-time", "5", "-w", " %{http_code} %{content_type}", "http://"+ip+path)
	}
	for path, want := range map[string]string{
		"/": "hello 200 text/html; charset=utf-8", "/style.css": "css 200 text/css; charset=utf-8", "/none": " 404 text/html",
		"/../../../../etc/passwd": " 404 text/html",
	} {
		if got := get(path); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	before := c.mustExec("node1", "late", "readlink", "/usr/share/nginx/html/..data")
	c.configMap("pages", map[string]string{"index.html": "changed"})
	c.eventually("a change arrives", func() error {
		if got := get("/"); got != "changed 200 text/html; charset=utf-8" {
			return fmt.Errorf("page %q", got)
		}
		return nil
	})
	if after := c.mustExec("node1", "late", "readlink", "/usr/share/nginx/html/..data"); after == before {
		t.Error("..data leads to the old directory")
	}
	if got := c.mustExec("node1", "late", "ls", "/usr/share/nginx/html"); got != "index.html\n" {
		t.Errorf("files %q", got)
	}
	pod, err := c.get("late")
	must(t, err)
	pod.Labels = map[string]string{"a": "1", "b": "2"}
	_, err = c.api.CoreV1().Pods("default").Update(c.ctx, pod, metav1.UpdateOptions{})
	must(t, err)
	c.eventually("new labels", func() error {
		if got := c.mustExec("node1", "late", "cat", "/labels/labels"); got != "a=\"1\"\nb=\"2\"" {
			return fmt.Errorf("labels %q", got)
		}
		return nil
	})
}
