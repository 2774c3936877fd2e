package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func clusterIP(name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: ports},
	}
}

func TestServiceVariables(t *testing.T) {
	values := serviceVariables([]*corev1.Service{
		clusterIP("my-web", "10.96.0.80", corev1.ServicePort{Name: "http-alt", Port: 80}, corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP}),
	})
	var lines []string
	for k, v := range values {
		lines = append(lines, k+"="+v)
	}
	slices.Sort(lines)
	want := []string{
		"MY_WEB_PORT=tcp://10.96.0.80:80",
		"MY_WEB_PORT_53_UDP=udp://10.96.0.80:53",
		"MY_WEB_PORT_53_UDP_ADDR=10.96.0.80",
		"MY_WEB_PORT_53_UDP_PORT=53",
		"MY_WEB_PORT_53_UDP_PROTO=udp",
		"MY_WEB_PORT_80_TCP=tcp://10.96.0.80:80",
		"MY_WEB_PORT_80_TCP_ADDR=10.96.0.80",
		"MY_WEB_PORT_80_TCP_PORT=80",
		"MY_WEB_PORT_80_TCP_PROTO=tcp",
		"MY_WEB_SERVICE_HOST=10.96.0.80",
		"MY_WEB_SERVICE_PORT=80",
		"MY_WEB_SERVICE_PORT_HTTP_ALT=80",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
}

func configMapKey(name, key string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
}

func secretKey(name, key string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
}

func TestStoryEnvironment(t *testing.T) {
	c := startCluster(t, "node1")
	c.configMap("app", map[string]string{"colour": "blue", "size": "9"})
	c.secret("app", map[string]string{"password": "s3cret"})
	elsewhere := clusterIP("elsewhere", "10.96.0.7", corev1.ServicePort{Port: 7})
	elsewhere.Namespace = "other"
	for _, s := range []*corev1.Service{
		clusterIP("kubernetes", "10.96.0.1", corev1.ServicePort{Name: "https", Port: 443}),
		clusterIP("web", "10.96.0.80", corev1.ServicePort{Port: 80}), clusterIP("headless", "None"), elsewhere,
	} {
		_, err := c.api.CoreV1().Services(s.Namespace).Create(c.ctx, s, metav1.CreateOptions{})
		must(t, err)
	}
	named := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	variables := func(s *corev1.PodSpec) {
		s.Containers[0].EnvFrom = []corev1.EnvFromSource{
			{Prefix: "APP_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("app")}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("app")}},
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("none"), Optional: ptr.To(true)}},
		}
		absent := configMapKey("app", "none")
		absent.ConfigMapKeyRef.Optional = ptr.To(true)
		s.Containers[0].Env = []corev1.EnvVar{
			{Name: "APP_size", Value: "10"}, {Name: "COLOUR", ValueFrom: configMapKey("app", "colour")},
			{Name: "PASSWORD", ValueFrom: secretKey("app", "password")}, {Name: "ABSENT", ValueFrom: absent},
			{Name: "URL", Value: "http://$(WEB_SERVICE_HOST):$(WEB_SERVICE_PORT)/$(APP_colour)"},
			{Name: "CPUS", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "requests.cpu"}}},
		}
	}
	c.pod("node1", "linked", "busybox", variables)
	c.pod("node1", "alone", "busybox", func(s *corev1.PodSpec) { s.EnableServiceLinks = ptr.To(false) })
	c.ready("linked")
	c.ready("alone")
	env := c.mustExec("node1", "linked", "env")
	for _, want := range []string{
		"APP_colour=blue", "APP_size=10", "password=s3cret", "COLOUR=blue", "PASSWORD=s3cret", "URL=http://10.96.0.80:80/blue", "CPUS=0",
		"KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT_HTTPS=443", "WEB_PORT_80_TCP_ADDR=10.96.0.80",
	} {
		if !strings.Contains("\n"+env, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, env)
		}
	}
	for _, unwanted := range []string{"ABSENT", "HEADLESS", "ELSEWHERE"} {
		if strings.Contains(env, unwanted) {
			t.Errorf("%s in\n%s", unwanted, env)
		}
	}
	if env := c.mustExec("node1", "alone", "env"); strings.Contains(env, "WEB_") || !strings.Contains(env, "KUBERNETES_PORT=tcp://10.96.0.1:443\n") {
		t.Errorf("without links:\n%s", env)
	}
}

func TestStoryMissingVariables(t *testing.T) {
	c := startCluster(t, "node1")
	c.secret("app", map[string]string{"password": "s3cret"})
	with := func(v *corev1.EnvVarSource) func(*corev1.PodSpec) {
		return func(s *corev1.PodSpec) { s.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: v}} }
	}
	c.pod("node1", "no-object", "busybox", with(configMapKey("late", "x")))
	c.pod("node1", "no-key", "busybox", with(secretKey("app", "user")))
	for name, want := range map[string]string{
		"no-object": `configmap "late" not found`, "no-key": "couldn't find key user in Secret default/app",
	} {
		c.await(name, "waiting for its configuration", func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CreateContainerConfigError" && s[0].State.Waiting.Message == want
		})
		c.eventually("event", func() error {
			list, err := c.api.CoreV1().Events("").List(c.ctx, metav1.ListOptions{})
			must(t, err)
			for _, e := range list.Items {
				if e.InvolvedObject.Name == name && e.Reason == "Failed" && e.Message == "Error: "+want {
					return nil
				}
			}
			return fmt.Errorf("none of %d", len(list.Items))
		})
	}
	c.configMap("late", map[string]string{"x": "1"})
	c.ready("no-object")
	if got := c.mustExec("node1", "no-object", "sh", "-c", "echo $X"); got != "1\n" {
		t.Errorf("X is %q", got)
	}
}
