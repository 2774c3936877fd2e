package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	"orrery.example.org/pki"
)

// remote is a way from the test to a node's HTTPS port: a relay on the loopback,
// since client-go's WebSockets cannot be given a dialer.
func (c *cluster) remote(node string, who pki.Request) *rest.Config {
	t := c.t
	t.Helper()
	m := c.nodes[node]
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var relays sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); relays.Wait() })
	relays.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			relays.Go(func() { c.relay(conn, net.JoinHostPort(m.address, "10250")) })
		}
	})
	pair, err := c.ca.Issue(who)
	must(t, err)
	return &rest.Config{
		Host: "https://" + ln.Addr().String(),
		TLSClientConfig: rest.TLSClientConfig{
			CAData: c.ca.PEM, CertData: pair.Cert, KeyData: pair.Key, ServerName: m.address,
		},
	}
}

func (c *cluster) relay(conn net.Conn, address string) {
	defer conn.Close()
	to, err := c.control.Dial(c.ctx, "tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	stop := context.AfterFunc(c.ctx, func() { _ = conn.Close(); _ = to.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(to, conn)
		_ = to.Close()
	}()
	_, _ = io.Copy(conn, to)
	_ = conn.Close()
	<-done
}

func nodeURL(config *rest.Config, path string, query url.Values) *url.URL {
	u, err := url.Parse(config.Host + path)
	if err != nil {
		panic(err)
	}
	u.RawQuery = query.Encode()
	return u
}

// executors are kubectl's two ways, the first one first.
func executors(t *testing.T, config *rest.Config, u *url.URL) map[string]remotecommand.Executor {
	t.Helper()
	ws, err := remotecommand.NewWebSocketExecutor(config, "GET", u.String())
	must(t, err)
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", u)
	must(t, err)
	return map[string]remotecommand.Executor{"WebSocket v5": ws, "SPDY": spdy}
}

func TestStoryExec(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "client", "busybox")
	c.ready("client")
	config := c.remote("node1", pki.APIServerClient)
	exec := func(tty bool, argv ...string) map[string]remotecommand.Executor {
		query := url.Values{"command": argv, "input": {"1"}, "output": {"1"}}
		if tty {
			query.Set("tty", "1")
		} else {
			query.Set("error", "1")
		}
		return executors(t, config, nodeURL(config, "/exec/default/client/main", query))
	}
	for name, executor := range exec(false, "sh", "-c", "cat; echo oops >&2; exit 7") {
		t.Run(name, func(t *testing.T) {
			var out, errOut strings.Builder
			err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{
				Stdin: strings.NewReader("typed\n"), Stdout: &out, Stderr: &errOut,
			})
			if exit, ok := err.(utilexec.CodeExitError); !ok || exit.Code != 7 {
				t.Errorf("error %v, want exit code 7", err)
			}
			if out.String() != "typed\n" || errOut.String() != "oops\n" {
				t.Errorf("stdout %q, stderr %q", out.String(), errOut.String())
			}
		})
	}
	for name, executor := range exec(true, "sh", "-c", "until stty size | grep '30 100'; do sleep 0.01; done; read line; echo got $line; test -t 1 && echo terminal") {
		t.Run(name+" with a terminal", func(t *testing.T) {
			var out strings.Builder
			err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{
				Stdin: strings.NewReader("typed\n"), Stdout: &out, Tty: true,
				TerminalSizeQueue: &oneSize{Width: 100, Height: 30},
			})
			if got := out.String(); err != nil || !strings.Contains(got, "30 100") || !strings.Contains(got, "got typed\r\nterminal\r\n") {
				t.Errorf("error %v, output %q", err, got)
			}
		})
	}
	for name, executor := range exec(false, "no-such-program") {
		t.Run(name+" of a program that is not there", func(t *testing.T) {
			err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
			if err == nil || !strings.Contains(err.Error(), `exec: "no-such-program": executable file not found in $PATH`) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// oneSize is a terminal whose size is told once.
type oneSize remotecommand.TerminalSize

func (s *oneSize) Next() *remotecommand.TerminalSize {
	if s.Width == 0 {
		return nil
	}
	size := remotecommand.TerminalSize(*s)
	s.Width = 0
	return &size
}

func TestStoryAttach(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "shell", "busybox", args("sh"), func(s *corev1.PodSpec) {
		s.RestartPolicy = corev1.RestartPolicyNever
		s.Containers[0].Stdin, s.Containers[0].StdinOnce, s.Containers[0].TTY = true, true, true
	})
	c.ready("shell")
	config := c.remote("node1", pki.APIServerClient)
	u := nodeURL(config, "/attach/default/shell/main", url.Values{"input": {"1"}, "output": {"1"}, "tty": {"1"}})
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", u.String())
	must(t, err)
	var out strings.Builder
	err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{
		Stdin: strings.NewReader("echo $((6*7))\nexit 5\n"), Stdout: &out, Tty: true,
	})
	if err != nil || !strings.Contains(out.String(), "42") {
		t.Errorf("error %v, output %q", err, out.String())
	}
	pod := c.await("shell", "ended", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if code := pod.Status.ContainerStatuses[0].State.Terminated.ExitCode; code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
}

func TestStoryPortForward(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "web", "nginx")
	web := c.ready("web")
	config := c.remote("node1", pki.APIServerClient)
	u := nodeURL(config, "/portForward/default/web", nil)
	transport, upgrader, err := spdy.RoundTripperFor(config)
	must(t, err)
	tunnelled, err := portforward.NewSPDYOverWebsocketDialer(u, config)
	must(t, err)
	for name, dialer := range map[string]httpstream.Dialer{
		"SPDY":                spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u),
		"SPDY over WebSocket": tunnelled,
	} {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:80"}, stop, ready, io.Discard, io.Discard)
			must(t, err)
			ended := make(chan error, 1)
			go func() { ended <- forwarder.ForwardPorts() }()
			defer func() { close(stop); <-ended }()
			select {
			case <-ready:
			case err := <-ended:
				ended <- err
				t.Fatal(err)
			}
			ports, err := forwarder.GetPorts()
			must(t, err)
			response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
			must(t, err)
			defer response.Body.Close()
			page, err := io.ReadAll(response.Body)
			if err != nil || !strings.Contains(string(page), "Pod web ("+web.Status.PodIP+")") {
				t.Errorf("page %q, error %v", page, err)
			}
		})
	}
}

func TestStoryLogs(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "talker", "busybox", command("sh", "-c", "echo one; echo two; read stop; echo three"), func(s *corev1.PodSpec) {
		s.Containers[0].Stdin = true
		s.RestartPolicy = corev1.RestartPolicyNever
	})
	c.ready("talker")
	c.eventually("two lines", func() error { return c.logHas("node1", "talker", "two\n") })
	config := c.remote("node1", pki.APIServerClient)
	client, err := rest.HTTPClientFor(config)
	must(t, err)
	open := func(query string) *http.Response {
		response, err := client.Get(config.Host + "/containerLogs/default/talker/main?" + query)
		must(t, err)
		return response
	}
	for query, want := range map[string]string{
		"": "one\ntwo\n", "tailLines=1": "two\n", "tailLines=0": "", "limitBytes=5": "one\nt", "tailLines=99": "one\ntwo\n",
	} {
		response := open(query)
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(body) != want {
			t.Errorf("%q: %q, %v; want %q", query, body, err, want)
		}
	}
	following := open("follow=true&tailLines=1")
	defer following.Body.Close()
	first := make([]byte, 4)
	if _, err := io.ReadFull(following.Body, first); err != nil || string(first) != "two\n" {
		t.Fatalf("the tail: %q, %v", first, err)
	}
	attach := make(chan error, 1)
	go func() {
		attach <- c.nodes["node1"].agent.AttachContainer(c.ctx, "default/talker", "", "main", strings.NewReader("go on\n"), nil, nil, false, nil)
	}()
	rest, err := io.ReadAll(following.Body) // ends with the container
	if err != nil || string(rest) != "three\n" {
		t.Errorf("what followed: %q, %v", rest, err)
	}
	if err := <-attach; err != nil {
		t.Error(err)
	}
	if response := open("tailLines=x"); response.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("tailLines=x: %s", response.Status)
	}
	if response := open("previous=true"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("previous of a first run: %s", response.Status)
	}
}

func TestStoryWhoMayEnter(t *testing.T) {
	c := startCluster(t, "node1")
	for name, row := range map[string]struct {
		who  pki.Request
		want int
	}{
		"API server": {pki.APIServerClient, 200},
		"admin":      {pki.Admin, 200},
		"a node":     {pki.Node("node1"), 403},
		"nobody":     {pki.Request{User: "nobody"}, 403},
	} {
		config := c.remote("node1", row.who)
		client, err := rest.HTTPClientFor(config)
		must(t, err)
		response, err := client.Get(config.Host + "/healthz")
		must(t, err)
		_ = response.Body.Close()
		if response.StatusCode != row.want {
			t.Errorf("%s: %s, want %d", name, response.Status, row.want)
		}
	}
	anonymous := c.remote("node1", pki.Admin)
	other, err := pki.NewCA("another")
	must(t, err)
	stranger, err := other.Issue(pki.Admin)
	must(t, err)
	cert, err := stranger.TLS()
	must(t, err)
	for _, row := range []struct {
		name, token, path string
		certs             []tls.Certificate
		want              int
	}{
		{"nobody", "", "/healthz", nil, 401},
		{"another CA's certificate", "", "/healthz", []tls.Certificate{cert}, 401},
		{"nobody's token", "x", "/healthz", nil, 401},
		{"a token without rights", "spy's", "/metrics", nil, 403},
		{"a token with one", "monitor's", "/metrics", nil, 200},
		{"and not for this", "monitor's", "/pods", nil, 403},
		{"beside a bad certificate", "monitor's", "/metrics", []tls.Certificate{cert}, 200},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: row.certs}}}
		for range 3 { // the answers are remembered
			request, err := http.NewRequestWithContext(c.ctx, "GET", anonymous.Host+row.path, nil)
			must(t, err)
			if row.token != "" {
				request.Header.Set("Authorization", "Bearer "+row.token)
			}
			response, err := client.Do(request)
			must(t, err)
			_ = response.Body.Close()
			if response.StatusCode != row.want {
				t.Errorf("%s: %s, want %d", row.name, response.Status, row.want)
			}
		}
		client.CloseIdleConnections()
	}
	if n := c.reviewed.Load(); n != 3 {
		t.Errorf("%d reviews for three tokens", n)
	}
}
