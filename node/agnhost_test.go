package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	utilexec "k8s.io/utils/exec"
)

func TestStoryAgnhost(t *testing.T) {
	c := startCluster(t, "node1", "node2")
	const image = "registry.k8s.io/e2e-test-images/agnhost:2.59"
	c.pod("node1", "here", image, args("netexec", "--http-port=8083", "--udp-port", "8081"))
	c.pod("node2", "there", image, command("/agnhost", "serve-hostname"))
	c.pod("node2", "idle", image)
	here, there := c.ready("here"), c.ready("there")
	c.ready("idle")
	get := func(path string) string {
		return c.mustExec("node2", "idle", "curl", "-sS", "--max-time", "10", "http://"+here.Status.PodIP+":8083/"+path)
	}
	for path, want := range map[string]string{
		"hostname":                      "here",
		"shell?cmd=cat%20/etc/hostname": `{"output":"here\n"}`,
		"dial?host=" + there.Status.PodIP + "&port=9376&request=x":                        `{"responses":["there"]}`,
		"dial?host=" + here.Status.PodIP + "&port=8081&protocol=udp&request=echo%20HELLO": `{"responses":["hello"]}`,
	} {
		if got := get(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	// What the tests of others run in such a container.
	for address, want := range map[string]string{
		here.Status.PodIP + ":8083": "", here.Status.PodIP + ":1": "REFUSED\n", "10.244.2.250:80": "OTHER: |TIMEOUT\n",
	} {
		got, err := c.execIn("node2", "idle", "/agnhost", "connect", address, "--timeout=20s")
		var exit utilexec.CodeExitError
		if want == "" && (err != nil || got != "") || want != "" && (!errors.As(err, &exit) || exit.Code != 1) {
			t.Errorf("connect %s: %v: %q", address, err, got)
		}
		ok := got == want
		for _, one := range strings.Split(want, "|") {
			ok = ok || one != "" && strings.HasPrefix(got, one)
		}
		if !ok {
			t.Errorf("connect %s wrote %q, want %q", address, got, want)
		}
	}
	// It may end before it has answered.
	_, _ = c.execIn("node2", "idle", "curl", "-sS", "--max-time", "10", "http://"+here.Status.PodIP+":8083/exit?code=4")
	c.await("here", "has ended and begun again", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses[0]
		return s.RestartCount == 1 && s.LastTerminationState.Terminated != nil && s.LastTerminationState.Terminated.ExitCode == 4
	})
	c.eventually("it wrote a log", func() error {
		log, err := c.log("node1", "here", &corev1.PodLogOptions{Previous: true})
		if err == nil && !strings.Contains(log, "GET /hostname") {
			err = fmt.Errorf("%q", log)
		}
		return err
	})
}
