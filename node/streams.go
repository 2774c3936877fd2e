package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/server"
	"orrery.example.org/node/workload"
)

var _ server.Backend = (*Node)(nil)

// findContainer finds a container by its Pod's full name.
func (n *Node) findContainer(podName string, uid types.UID, name string) (*pod, *container, error) {
	namespace, podOnly, _ := strings.Cut(podName, "/")
	p := n.findPod(namespace, podOnly, uid)
	if p == nil {
		return nil, nil, fmt.Errorf("pod %q does not exist on node %s", podName, n.cfg.Name)
	}
	if c := p.container(name); c != nil {
		return p, c, nil
	}
	return nil, nil, fmt.Errorf("container %q not found in pod %q", name, podName)
}

// OpenLog implements server.Backend.
func (n *Node) OpenLog(podName string, uid types.UID, name string, previous bool) (server.Log, error) {
	_, c, err := n.findContainer(podName, uid, name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case previous && c.previous == nil:
		return nil, fmt.Errorf("previous terminated container %q in pod %q not found", name, podName)
	case previous:
		return c.previous, nil
	case c.console != nil:
		return c.console.Log, nil
	}
	why := ""
	if w := c.status.State.Waiting; w != nil {
		why = w.Reason
		if strings.HasSuffix(w.Reason, "ImagePull") || w.Reason == "ImagePullBackOff" {
			why = "trying and failing to pull image"
		}
	}
	return nil, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, podName, why)
}

// ExecInContainer runs a program of the node in a Pod.
func (n *Node) ExecInContainer(ctx context.Context, podName, uid, name string, argv []string,
	in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	_, c, err := n.findContainer(podName, types.UID(uid), name)
	if err != nil {
		return err
	}
	r := c.presentRun()
	if r == nil {
		return fmt.Errorf("container not found (%q)", name)
	}
	if program := r.builtInNamed(argv); program != nil {
		return exitCode(r.runBuiltIn(ctx, program, workload.Container{
			Spec: corev1.Container{Name: name, Command: argv}, Stdout: orDiscard(out), Stderr: orDiscard(cmp.Or(errOut, out)), Ready: func() {}, Killed: ctx.Done(),
		}))
	}
	place, err := r.enter(ctx)
	if err != nil {
		return fmt.Errorf("failed to exec in container: %w", err)
	}
	env := r.env
	if tty && !c.spec.TTY {
		env = append(slices.Clone(env), "TERM=xterm")
	}
	if argv[0] == "tar" && oneUser() {
		// kubectl cp means to keep the owners of files, whom only the client knows.
		env = append(slices.Clone(env), "TAR_OPTIONS=--no-same-owner")
	}
	err = place.Run(ctx, sandbox.Process{
		Argv: argv, Env: env, Dir: r.dir, User: r.user, Stdin: in, Stdout: writer(out), Stderr: writer(errOut), TTY: tty, Resize: resize,
	})
	if exit := (workload.Exit{}); r.root == nil && err != nil && !errors.As(err, &exit) {
		err = fmt.Errorf("%w (programs are those of the node)", err)
	}
	return exitCode(err)
}

// exitCode is how a client is told how a program ended.
func exitCode(err error) error {
	if exit := (workload.Exit{}); errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", exit.Code), Code: exit.Code}
	}
	if err != nil {
		return fmt.Errorf("failed to exec in container: %w", err)
	}
	return nil
}

// orDiscard is for programs that write, whoever listens.
func orDiscard(w io.WriteCloser) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// writer keeps a missing stream nil: a nil pointer in an interface is not.
func writer(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

// AttachContainer connects a client to a container's own streams.
func (n *Node) AttachContainer(ctx context.Context, podName, uid, name string,
	in io.Reader, out, errOut io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	_, c, err := n.findContainer(podName, types.UID(uid), name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	streams, running := c.console, c.status.State.Running
	c.mu.Unlock()
	if running == nil {
		return fmt.Errorf("container %s is not running", name)
	}
	return streams.Attach(ctx, in, writer(out), writer(errOut), resize)
}

// PortForward connects a stream to a port on the Pod's loopback.
func (n *Node) PortForward(ctx context.Context, podName, uid string, port int32, stream io.ReadWriteCloser) error {
	namespace, name, _ := strings.Cut(podName, "/")
	p := n.findPod(namespace, name, types.UID(uid))
	if p == nil || p.sandbox() == nil {
		return fmt.Errorf("pod %q is not running on node %s", podName, n.cfg.Name)
	}
	conn, err := p.sandbox().Host.Dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	var once sync.Once
	closeBoth := func() { once.Do(func() { _ = conn.Close(); _ = stream.Close() }) }
	defer closeBoth()
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	go func() {
		// Ends with the stream, which is closed below at the latest.
		_, _ = io.Copy(conn, stream)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}()
	_, err = io.Copy(stream, conn)
	return err
}
