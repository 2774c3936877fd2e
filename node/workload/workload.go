// Package workload is what runs in containers: the catalog that maps images to
// built-in programs or to programs of the node, and those built-in programs.
//
// Upstream counterpart: the container runtime (containerd, runc) with its image
// store. There is no registry and no root file system here. A built-in program is
// a Go function in the agent's process whose sockets are opened in the Pod's network
// namespace, so that a thousand web servers cost a thousand listeners and not a
// thousand processes; every other program is the node's own, started in the Pod's
// namespaces.
package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

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
	Pod    *corev1.Pod      // as the agent last saw it; read only
	Spec   corev1.Container // of this container; env is already resolved
	Node   string           // name of the node
	PodIP  string
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

// Image is a row of the catalog. It matches every reference whose repository ends
// in Name, whatever the registry, tag or digest: nginx matches
// docker.io/library/nginx:1.27.
type Image struct {
	Name     string `mapstructure:"name"`
	Workload string `mapstructure:"workload"` // the built-in program that is the image's entry point

	// ArgsRun says that the container's args name a program of the node, as with
	// images whose entry point is a shell or none. Otherwise args go to the workload.
	ArgsRun bool `mapstructure:"args-run"`
	// Entrypoint is put before args that begin with an option or a URL. As the command it
	// means the workload.
	Entrypoint string `mapstructure:"entrypoint"`
	// Shell is run instead of the workload where somebody may type: in a container with
	// stdin and no args.
	Shell string `mapstructure:"shell"`
}

// DefaultImages is the catalog of configs/node.yaml.
func DefaultImages() []Image {
	images := []Image{
		{Name: "nginx", Workload: "nginx", ArgsRun: true},
		{Name: "httpd", Workload: "httpd", ArgsRun: true},
		{Name: "echo", Workload: "echo"},
		{Name: "whoami", Workload: "echo"},
		{Name: "agnhost", Workload: "agnhost", Entrypoint: "/agnhost"},
		{Name: "pause", Workload: "pause"},
		{Name: "coredns", Workload: "coredns"},
		{Name: "curl", Workload: "pause", ArgsRun: true, Entrypoint: "curl"},
	}
	for _, name := range []string{"busybox", "alpine"} {
		images = append(images, Image{Name: name, Workload: "pause", ArgsRun: true, Shell: "sh"})
	}
	for _, name := range []string{"debian", "ubuntu"} {
		images = append(images, Image{Name: name, Workload: "pause", ArgsRun: true, Shell: "bash"})
	}
	return images
}

// Catalog finds out what a container runs.
type Catalog struct {
	images    []Image
	workloads map[string]Workload
}

// NewCatalog joins the images with the built-in programs and those in more. Images
// whose workload nobody brought are left out.
func NewCatalog(images []Image, more ...Named) *Catalog {
	c := &Catalog{workloads: map[string]Workload{
		"nginx": Nginx.Serve, "httpd": Httpd.Serve, "echo": Echo, "pause": Pause,
	}}
	for _, w := range more {
		c.workloads[w.Name] = w.Run
	}
	for _, image := range images {
		if image.Workload == "" || c.workloads[image.Workload] != nil {
			c.images = append(c.images, image)
		}
	}
	return c
}

// Names lists the images, sorted.
func (c *Catalog) Names() []string {
	names := make([]string, 0, len(c.images))
	for _, image := range c.images {
		names = append(names, image.Name)
	}
	slices.Sort(names)
	return names
}

// Find looks an image reference up. Its error says which images there are.
func (c *Catalog) Find(reference string) (Image, error) {
	repository := Repository(reference)
	for _, image := range c.images {
		if repository == image.Name || strings.HasSuffix(repository, "/"+image.Name) {
			return image, nil
		}
	}
	return Image{}, fmt.Errorf("image %q is not in this node's catalog; available: %s",
		reference, strings.Join(c.Names(), ", "))
}

// Program says what the container runs: a built-in program, or the argument vector
// of a program of the node.
//
// Kubernetes: busybox without a command runs a shell that, without stdin, ends at once.
// Here such images stay, so that there is something to exec into.
func (c *Catalog) Program(image Image, spec corev1.Container) (Workload, []string) {
	switch {
	case len(spec.Command) > 0 && spec.Command[0] == image.Entrypoint && c.workloads[image.Workload] != nil && !image.ArgsRun:
		return c.workloads[image.Workload], nil
	case len(spec.Command) > 0:
		return nil, slices.Concat(spec.Command, spec.Args)
	case len(spec.Args) > 0 && (image.ArgsRun || image.Workload == ""):
		first := spec.Args[0]
		if image.Entrypoint != "" && (strings.HasPrefix(first, "-") || strings.Contains(first, "://")) {
			return nil, append([]string{image.Entrypoint}, spec.Args...)
		}
		return nil, spec.Args
	case spec.Stdin && image.Shell != "":
		return nil, []string{image.Shell}
	case image.Workload == "":
		return nil, []string{image.Entrypoint}
	default:
		return c.workloads[image.Workload], nil
	}
}

// Repository is the reference without tag and digest.
func Repository(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon] // a colon before the last slash is the registry's port
	}
	return name
}
