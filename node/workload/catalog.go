package workload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	distribution "github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

// Image is a row of the catalog. It matches every reference whose repository ends
// in Name, whatever the registry, tag or digest: nginx matches
// docker.io/library/nginx:1.27. What it runs is a Workload, or else Command.
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

	// Root is a directory of the node that is the root directory of the containers. They
	// never write to it. "": they see the node's files.
	Root string `mapstructure:"root"`
	// The rest is what an image's configuration says; a container's own counts more.
	Command    []string `mapstructure:"command"`
	Args       []string `mapstructure:"args"`
	Env        []string `mapstructure:"env"` // each NAME=value
	WorkingDir string   `mapstructure:"working-dir"`
	User       string   `mapstructure:"user"` // a name or number, and maybe a colon and a group's
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

// Check says what is wrong with the rows of a catalog.
func Check(images []Image) error {
	var errs []error
	for i, image := range images {
		if err := image.check(); err != nil {
			errs = append(errs, fmt.Errorf("images[%d] (%s): %w", i, image.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (i Image) check() error {
	configured := len(i.Args) > 0 || len(i.Env) > 0 || i.WorkingDir != "" || i.User != ""
	switch {
	case i.Name == "":
		return errors.New("name: it needs one, as nginx")
	case i.Workload == "" && i.Root == "" && len(i.Command) == 0:
		return errors.New("it needs a workload (a built-in program), a command or a root (directory)")
	case i.Workload != "" && (i.Root != "" || len(i.Command) > 0 || configured):
		return errors.New("root, command, args, env, working-dir and user are for images without a workload")
	case i.Workload == "" && (i.ArgsRun || i.Entrypoint != "" || i.Shell != ""):
		return errors.New("args-run, entrypoint and shell are for images with a workload; command is what runs in others")
	case i.Root != "" && !filepath.IsAbs(i.Root):
		return fmt.Errorf("root %q must be an absolute path", i.Root)
	case i.WorkingDir != "" && !filepath.IsAbs(i.WorkingDir):
		return fmt.Errorf("working-dir %q must be an absolute path", i.WorkingDir)
	case i.Root == "" && i.User != "":
		return errors.New("user is for images with a root, whose /etc/passwd knows it")
	}
	for _, variable := range i.Env {
		if name, _, found := strings.Cut(variable, "="); !found || name == "" {
			return fmt.Errorf("env %q must be NAME=value", variable)
		}
	}
	return nil
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

// Images are those that can run, in the catalog's order.
func (c *Catalog) Images() []Image { return c.images }

// names lists the images, sorted.
func (c *Catalog) names() []string {
	names := make([]string, 0, len(c.images))
	for _, image := range c.images {
		names = append(names, image.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ErrInvalidName is that a reference is none.
var ErrInvalidName = errors.New("couldn't parse image name")

// Find looks an image reference up. Its error says which images there are.
func (c *Catalog) Find(reference string) (Image, error) {
	if _, err := distribution.ParseNormalizedNamed(reference); err != nil {
		return Image{}, fmt.Errorf("%w %q: %w", ErrInvalidName, reference, err)
	}
	repository := Repository(reference)
	for _, image := range c.images {
		if repository != image.Name && !strings.HasSuffix(repository, "/"+image.Name) {
			continue
		}
		if image.Root == "" {
			return image, nil
		}
		info, err := os.Stat(image.Root)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a directory", image.Root)
		}
		if err != nil {
			return Image{}, fmt.Errorf("the root directory of image %q in this node's catalog: %w", reference, err)
		}
		return image, nil
	}
	return Image{}, fmt.Errorf("image %q is not in this node's catalog; available: %s",
		reference, strings.Join(c.names(), ", "))
}

// Program says what the container runs: a built-in program, or an argument vector, which
// is empty where nobody says what to run.
//
// Kubernetes: busybox without a command runs a shell that, without stdin, ends at once.
// Here such images stay, so that there is something to exec into.
func (c *Catalog) Program(image Image, spec corev1.Container) (Workload, []string) {
	switch {
	case len(spec.Command) > 0 && spec.Command[0] == image.Entrypoint && c.workloads[image.Workload] != nil && !image.ArgsRun:
		return c.workloads[image.Workload], nil
	case len(spec.Command) > 0:
		return nil, slices.Concat(spec.Command, spec.Args)
	case image.Workload == "" && len(spec.Args) > 0:
		return nil, slices.Concat(image.Command, spec.Args)
	case image.Workload == "":
		return nil, slices.Concat(image.Command, image.Args)
	case len(spec.Args) > 0 && image.ArgsRun:
		first := spec.Args[0]
		if image.Entrypoint != "" && (strings.HasPrefix(first, "-") || strings.Contains(first, "://")) {
			return nil, append([]string{image.Entrypoint}, spec.Args...)
		}
		return nil, spec.Args
	case spec.Stdin && image.Shell != "":
		return nil, []string{image.Shell}
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
