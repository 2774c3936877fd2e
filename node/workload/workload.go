// Package workload is what runs in containers: the catalog that maps images to
// built-in programs, to programs of the node or to root directories, and those built-in
// programs.
//
// Upstream counterpart: the container runtime (containerd, runc) with its image
// store. There is no registry here. A built-in program is a Go function in the agent's
// process whose sockets are opened in the Pod's network namespace, so that a thousand
// web servers cost a thousand listeners and not a thousand processes; every other
// program is the node's own, or one in a directory that somebody unpacked on the node,
// started in the Pod's namespaces.
package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/host"
)

// Workload is a built-in program. It runs until it is done, it fails, or ctx is
// cancelled (the container is being stopped); its error is the exit status: nil is
// 0, an Exit its code, anything else 1 with the error as the message.
type Workload func(ctx context.Context, c *Container) error

// Named is a Workload with the name by which images refer to it.
type Named struct {
	Name string
	Run  Workload
}

// Container is what a Workload is given.
type Container struct {
	Pod    *corev1.Pod                         // as the agent last saw it; read only
	Spec   corev1.Container                    // of this container; env is already resolved
	Node   string                              // name of the node
	PodIPs []string                            // at least one
	Host   *host.Host                          // the Pod's: sockets opened here are in the Pod's network namespace
	Open   func(path string) (*os.File, error) // of the container's volumes
	Stdout io.Writer
	Stderr io.Writer
	Ready  func()          // to be called once, when the program can serve
	Killed <-chan struct{} // closed when the time to stop is over
	// Exec runs a program of the node in the container and returns what it writes.
	Exec func(ctx context.Context, argv ...string) ([]byte, error)
}

// Exit is the error of a program that ended with a code other than 0.
type Exit struct {
	Code   int
	Signal int
}

func (e Exit) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("killed by signal %d", e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// ExitCode is the code that a container reports for what its program returned.
func ExitCode(err error) (code, signal int) {
	var exit Exit
	switch {
	case err == nil:
		return 0, 0
	case errors.As(err, &exit):
		return exit.Code, exit.Signal
	default:
		return 1, 0
	}
}
