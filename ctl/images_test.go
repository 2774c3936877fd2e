package main

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestImageRows(t *testing.T) {
	node := func(name string, images ...[]string) (n corev1.Node) {
		n.Name = name
		for _, names := range images {
			n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: names})
		}
		return n
	}
	got := imageRows([]corev1.Node{
		node("node1", []string{"orrery://built-in/nginx", "nginx"}, []string{"orrery://built-in/pause", "busybox"}),
		node("node2", []string{"orrery://built-in/nginx", "nginx"}, []string{"plain"}, nil),
	})
	want := [][]string{{"busybox", "built-in pause", "node1"}, {"nginx", "built-in nginx", "node1,node2"}, {"plain", "-", "node2"}}
	if !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("rows %v, want %v", got, want)
	}
}
