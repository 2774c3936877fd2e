package api

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestHostPorts(t *testing.T) {
	with := func(ports ...int32) (c corev1.Container) {
		for _, p := range ports {
			c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: 80, HostPort: p})
		}
		return c
	}
	sidecar := with(3)
	sidecar.RestartPolicy = ptr(corev1.ContainerRestartPolicyAlways)
	got := HostPorts(&corev1.PodSpec{InitContainers: []corev1.Container{with(1), sidecar}, Containers: []corev1.Container{with(4, 0), with(5)}})
	if len(got) != 3 || got[0].HostPort != 3 || got[1].HostPort != 4 || got[2].HostPort != 5 {
		t.Errorf("host ports %+v, want 3, 4 and 5", got)
	}
}

func TestHostPortsClash(t *testing.T) {
	port := func(ip string, protocol corev1.Protocol, number int32) []corev1.ContainerPort {
		return []corev1.ContainerPort{{HostIP: ip, Protocol: protocol, HostPort: number}}
	}
	for _, row := range []struct {
		name string
		a, b []corev1.ContainerPort
		want bool
	}{
		{"the same", port("", "TCP", 80), port("", "TCP", 80), true},
		{"TCP by default", port("", "", 80), port("", "TCP", 80), true},
		{"another port", port("", "TCP", 80), port("", "TCP", 81), false},
		{"another protocol", port("", "TCP", 80), port("", "UDP", 80), false},
		{"other addresses", port("127.0.0.1", "TCP", 80), port("127.0.0.2", "TCP", 80), false},
		{"one of all addresses", port("127.0.0.1", "TCP", 80), port("0.0.0.0", "TCP", 80), true},
		{"none", nil, port("", "TCP", 80), false},
	} {
		if HostPortsClash(row.a, row.b) != row.want || HostPortsClash(row.b, row.a) != row.want {
			t.Errorf("%s: want %v", row.name, row.want)
		}
	}
}
