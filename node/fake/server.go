package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"orrery.example.org/node/server"
)

var _ server.Backend = (*Nodes)(nil)

// simulated is the answer to all who want something of a container.
func (n *Nodes) simulated(podName, missing string) error {
	if obj, exists, err := n.pods.GetByKey(podName); err == nil && exists {
		if pod := obj.(*corev1.Pod); n.names[pod.Spec.NodeName] != nil {
			return fmt.Errorf("pod %q is on the simulated node %s: nothing runs there, so there is no %s", podName, pod.Spec.NodeName, missing)
		}
	}
	return fmt.Errorf("pod %q is on none of the simulated nodes %s to %s", podName, n.cfg.Name(1), n.cfg.Name(n.cfg.Count))
}

// Pods implements server.Backend: it lists those of all fake nodes.
func (n *Nodes) Pods() []*corev1.Pod {
	var all []*corev1.Pod
	for _, obj := range n.pods.List() {
		if pod := obj.(*corev1.Pod); n.names[pod.Spec.NodeName] != nil {
			all = append(all, pod)
		}
	}
	slices.SortFunc(all, func(a, b *corev1.Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return all
}

// Summary implements server.Backend.
func (n *Nodes) Summary(context.Context) (*server.Summary, error) {
	return nil, errors.New("the nodes are simulated: nothing is used")
}

// OpenLog implements server.Backend.
func (n *Nodes) OpenLog(podName string, _ types.UID, _ string, _ bool) (server.Log, error) {
	return nil, n.simulated(podName, "log")
}

// ExecInContainer implements server.Backend.
func (n *Nodes) ExecInContainer(_ context.Context, podName, _, _ string, _ []string,
	_ io.Reader, _, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return n.simulated(podName, "container to run a program in")
}

// AttachContainer implements server.Backend.
func (n *Nodes) AttachContainer(_ context.Context, podName, _, _ string,
	_ io.Reader, _, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	return n.simulated(podName, "program to attach to")
}

// PortForward implements server.Backend.
func (n *Nodes) PortForward(_ context.Context, podName, _ string, _ int32, _ io.ReadWriteCloser) error {
	return n.simulated(podName, "port to forward to")
}
