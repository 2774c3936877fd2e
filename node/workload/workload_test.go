package workload

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestFind(t *testing.T) {
	c := NewCatalog(DefaultImages())
	digest := "@sha256:" + strings.Repeat("0123456789abcdef", 4)
	for reference, want := range map[string]string{
		"nginx":                             "nginx",
		"nginx:1.27":                        "nginx",
		"docker.io/library/nginx:1.27":      "nginx",
		"localhost:5000/nginx":              "nginx",
		"localhost:5000/team/nginx:x":       "nginx",
		"nginx" + digest:                    "nginx",
		"nginx:1.27" + digest:               "nginx",
		"nginx@sha256:0123":                 "", // too short
		"Nginx":                             "",
		"nginx:":                            "",
		"curlimages/curl":                   "curl",
		"registry.k8s.io/pause:3.10":        "pause",
		"traefik/whoami":                    "whoami",
		"mynginx":                           "",
		"nginx/other":                       "",
		"registry.k8s.io/coredns/coredns:1": "", // nobody brought its workload
		"":                                  "",
	} {
		image, err := c.Find(reference)
		if image.Name != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", reference, image.Name, err, want)
		}
	}
	_, err := c.Find("mynginx")
	if want := `image "mynginx" is not in this node's catalog; available: alpine, busybox, curl, debian, echo, httpd, nginx, pause, ubuntu, whoami`; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if _, err := NewCatalog(DefaultImages(), Named{"coredns", Pause}).Find("coredns"); err != nil {
		t.Errorf("an image whose workload was brought: %v", err)
	}
}

func TestProgram(t *testing.T) {
	c := NewCatalog(DefaultImages())
	for _, row := range []struct {
		image, command, args string
		want                 string // "" is the built-in program
	}{
		{"nginx", "", "", ""},
		{"nginx", "sleep 1", "", "sleep 1"},
		{"busybox", "", "", ""},
		{"busybox", "sh -c", "true", "sh -c true"},
		{"busybox", "", "sleep 1", "sleep 1"},
		{"echo", "", "--port 8080", ""},
		{"curl", "", "-s http://web", "curl -s http://web"},
		{"curl", "", "http://web", "curl http://web"},
		{"curl", "", "sleep 1", "sleep 1"},
	} {
		image, err := c.Find(row.image)
		if err != nil {
			t.Fatal(err)
		}
		spec := corev1.Container{Command: strings.Fields(row.command), Args: strings.Fields(row.args)}
		builtIn, argv := c.Program(image, spec)
		if got := strings.Join(argv, " "); got != row.want || (builtIn != nil) != (row.want == "") {
			t.Errorf("%s %q %q: runs %q, built-in %v; want %q", row.image, row.command, row.args, got, builtIn != nil, row.want)
		}
	}
}

func TestPorts(t *testing.T) {
	spec := corev1.Container{Ports: []corev1.ContainerPort{
		{ContainerPort: 1}, {ContainerPort: 2, Protocol: corev1.ProtocolUDP}, {ContainerPort: 3, Protocol: corev1.ProtocolTCP},
	}}
	if got := fmt.Sprint(Ports(spec, corev1.ProtocolTCP, 80), Ports(spec, corev1.ProtocolUDP, 0)); got != "[1 3] [2]" {
		t.Errorf("declared ports: %s", got)
	}
	if got := fmt.Sprint(Ports(corev1.Container{}, corev1.ProtocolTCP, 80), Ports(corev1.Container{}, corev1.ProtocolUDP, 0)); got != "[80] []" {
		t.Errorf("without declarations: %s", got)
	}
}

func TestExitCode(t *testing.T) {
	for want, err := range map[string]error{
		"0 0":    nil,
		"1 0":    errors.New("x"),
		"3 0":    fmt.Errorf("run: %w", Exit{Code: 3}),
		"137 9":  Exit{Code: 137, Signal: 9},
		"143 15": Exit{Code: 143, Signal: 15},
	} {
		code, signal := ExitCode(err)
		if got := fmt.Sprint(code, " ", signal); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
