package apiserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	streams "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"orrery.example.org/host"
	"orrery.example.org/pki"
)

func pod(name, node string, containers ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: node}}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c, Image: "busybox"})
	}
	return p
}

// agent is the HTTPS port of a node: it shows logs and runs "commands" by echoing them.
type agent struct{ t *testing.T }

func (a agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user := r.TLS.PeerCertificates[0].Subject.CommonName; user != pki.APIServerClient.User {
		a.t.Errorf("the API server comes as %q", user)
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/containerLogs/default/p/c"):
		_, _ = fmt.Fprintf(w, "log of %s?%s\n", r.URL.Path, r.URL.RawQuery)
	case strings.HasPrefix(r.URL.Path, "/containerLogs/"):
		http.Error(w, "container is waiting to start: ContainerCreating", http.StatusBadRequest)
	case strings.HasPrefix(r.URL.Path, "/exec/default/p/"):
		o, err := streams.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		streams.ServeExec(w, r, a, "p", "", "c", r.URL.Query()["command"], o, time.Minute, time.Minute, streams.SupportedStreamingProtocols)
	default:
		http.NotFound(w, r)
	}
}

func (a agent) ExecInContainer(_ context.Context, _, _, _ string, cmd []string, in io.Reader, out, errOut io.WriteCloser, _ bool, _ <-chan streams.TerminalSize, _ time.Duration) error {
	_, _ = fmt.Fprintf(out, "ran %s\n", strings.Join(cmd, " "))
	if in != nil {
		_, _ = io.Copy(out, in)
	}
	if errOut != nil {
		_, _ = fmt.Fprint(errOut, "done")
	}
	return nil
}

// node starts an agent and registers it as a Node.
func (c *cluster) node(name string) {
	t := c.t
	t.Helper()
	ln, err := (*host.Host)(nil).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := c.issue(pki.Request{User: "system:node:" + name, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}).TLS()
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: agent{t}, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: c.ca.Pool(),
	}}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-done })

	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	nodes := c.client().CoreV1().Nodes()
	if n, err = nodes.Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(ln.Addr().(*net.TCPAddr).Port)
	if _, err = nodes.UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestStreams(t *testing.T) {
	c := start(t)
	c.node("n1")
	ctx, podsClient := t.Context(), c.client().CoreV1().Pods("default")
	for _, p := range []*corev1.Pod{pod("p", "n1", "c"), pod("two", "n1", "a", "b"), pod("pending", "", "c"), pod("lost", "n2", "c")} {
		if _, err := podsClient.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	logs := func(pod string, o corev1.PodLogOptions) (string, error) {
		stream, err := podsClient.GetLogs(pod, &o).Stream(ctx)
		if err != nil {
			return "", err
		}
		defer func() { _ = stream.Close() }()
		data, err := io.ReadAll(stream)
		return string(data), err
	}
	if got, err := logs("p", corev1.PodLogOptions{Follow: true, TailLines: new(int64(3))}); err != nil ||
		got != "log of /containerLogs/default/p/c?follow=true&tailLines=3\n" {
		t.Errorf("%q %v", got, err)
	}
	if got, err := logs("pending", corev1.PodLogOptions{}); err != nil || got != "" {
		t.Errorf("%q %v", got, err)
	}
	for want, ask := range map[string]func() (string, error){
		"a container name must be specified for pod two, choose one of: [a b]": func() (string, error) { return logs("two", corev1.PodLogOptions{}) },
		"container x is not valid for pod p":                                   func() (string, error) { return logs("p", corev1.PodLogOptions{Container: "x"}) },
		"container is waiting to start: ContainerCreating":                     func() (string, error) { return logs("two", corev1.PodLogOptions{Container: "a"}) },
		`nodes "n2" not found`:                                                 func() (string, error) { return logs("lost", corev1.PodLogOptions{}) },
		`pods "nope" not found`:                                                func() (string, error) { return logs("nope", corev1.PodLogOptions{}) },
	} {
		if got, err := ask(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}

	exec := func(pod string, stdin bool) *url.URL {
		return c.client().CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{Command: []string{"cat", "-u"}, Stdin: stdin, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	}
	run := func(e remotecommand.Executor, err error, stdin io.Reader) (string, error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: &stdout, Stderr: &stderr})
		return stdout.String() + stderr.String(), err
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.admin, "POST", exec("p", true))
	if out, err := run(spdy, err, strings.NewReader("hello ")); err != nil || out != "ran cat -u\nhello done" {
		t.Errorf("SPDY: %q %v", out, err)
	}
	// Version 4 of the WebSocket protocol cannot say that stdin ends, so there is none.
	socket, err := remotecommand.NewWebSocketExecutorForProtocols(c.admin, "GET", exec("p", false).String(), "v4.channel.k8s.io")
	if out, err := run(socket, err, nil); err != nil || out != "ran cat -u\ndone" {
		t.Errorf("WebSocket: %q %v", out, err)
	}
	lost, err := remotecommand.NewSPDYExecutor(c.admin, "POST", exec("pending", false))
	if _, err := run(lost, err, nil); err == nil || !strings.Contains(err.Error(), "pod pending does not have a host assigned") {
		t.Errorf("exec in a pending pod: %v", err)
	}
	if code, _, body := c.call(c.http(), "POST", pods+"/p/exec?command=true", ""); code != 400 || !strings.Contains(body, "Upgrade request required") {
		t.Error(code, body)
	}
}

// TestPodLife: bound once, deleted gracefully, gone when its agent says so.
func TestPodLife(t *testing.T) {
	c := start(t)
	ctx, podsClient := t.Context(), c.client().CoreV1().Pods("default")
	made, err := podsClient.Create(ctx, pod("p", "", "c"), metav1.CreateOptions{})
	if err != nil || made.Status.Phase != corev1.PodPending {
		t.Fatal(made, err)
	}
	bind := func(name, node string, uid string) error {
		b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
		b.UID = made.UID
		if uid != "" {
			b.UID = "other"
		}
		return podsClient.Bind(ctx, b, metav1.CreateOptions{})
	}
	if err := bind("p", "n1", "other"); !apierrors.IsConflict(err) {
		t.Errorf("bind another Pod of that name: %v", err)
	}
	if err := bind("p", "n1", ""); err != nil {
		t.Fatal(err)
	}
	if err := bind("p", "n2", ""); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"`) {
		t.Errorf("bind again: %v", err)
	}
	if err := bind("p", "", ""); err == nil || err.Error() != "target.name: Required value" {
		t.Errorf("bind to nothing: %v", err)
	}
	bound, err := podsClient.Get(ctx, "p", metav1.GetOptions{})
	if err != nil || bound.Spec.NodeName != "n1" || len(bound.Status.Conditions) != 1 || bound.Status.Conditions[0].Type != corev1.PodScheduled {
		t.Fatal(bound, err)
	}
	if err := podsClient.Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ending, err := podsClient.Get(ctx, "p", metav1.GetOptions{})
	if err != nil || ending.DeletionTimestamp == nil || *ending.DeletionGracePeriodSeconds != 30 {
		t.Fatal(ending, err)
	}
	if err := podsClient.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if _, err := podsClient.Get(ctx, "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Pod lives on: %v", err)
	}
}
