package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/workload"
)

// builtInNamed is the built-in program that a command means in this container's image;
// nil: it means a program of the node.
func (r *run) builtInNamed(argv []string) workload.Workload {
	catalog := r.c.pod.node.catalog
	image, err := catalog.Find(r.image)
	if err != nil {
		return nil
	}
	program, _ := catalog.Program(image, corev1.Container{Command: argv})
	return program
}

// runBuiltIn runs a built-in program, and fills in what it finds in its container.
func (r *run) runBuiltIn(stop context.Context, program workload.Workload, c workload.Container) (err error) {
	defer func() {
		if p := recover(); p != nil { // costs the container, not the node
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	c.Spec = *c.Spec.DeepCopy()
	c.Spec.Image, c.Spec.Env = r.image, nil
	for _, variable := range r.env {
		name, value, _ := strings.Cut(variable, "=")
		c.Spec.Env = append(c.Spec.Env, corev1.EnvVar{Name: name, Value: value})
	}
	c.Pod, c.Node, c.PodIPs, c.Host = r.c.pod.latest(), r.c.pod.node.cfg.Name, texts(r.c.pod.addresses()), r.box.Host
	c.Open = func(path string) (*os.File, error) { return r.open(stop, path) }
	c.Exec = r.exec
	return program(stop, &c)
}

// open finds files of the container's volumes for a built-in program.
func (r *run) open(ctx context.Context, path string) (*os.File, error) {
	place, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	return place.Open(path)
}

// exec runs a program in the container and returns all that it writes.
func (r *run) exec(ctx context.Context, argv ...string) ([]byte, error) {
	place, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	var output bytes.Buffer
	err = place.Run(ctx, sandbox.Process{Argv: argv, Env: r.env, Dir: r.dir, User: r.user, Stdout: &output, Stderr: &output})
	return output.Bytes(), err
}
