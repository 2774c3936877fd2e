// Package agnhost is a built-in program that behaves like the image of that name, with
// which Kubernetes' own end-to-end tests look at a cluster's network from inside.
//
// Upstream counterpart: test/images/agnhost. In flow a container's arguments, the first of
// which says what to be: netexec (an HTTP and UDP server that tells what it sees, and asks
// others), serve-hostname, connect, nettest, pause, and those that show what is in a container's
// /etc. Left out: the other programs of the image, and of these SCTP, TLS and uploads.
package agnhost

import (
	"context"
	"flag"
	"fmt"
	"log"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/workload"
)

// programs are what the image can be.
var programs = map[string]func(context.Context, *program) error{
	"netexec": netexec, "serve-hostname": serveHostname, "connect": connect, "nettest": nettest, "pause": pause,
	"dns-suffix": dnsSuffix, "dns-server-list": dnsServerList, "etc-hosts": etcHosts, "entrypoint-tester": entrypointTester,
}

// program is one of them at work.
type program struct {
	*workload.Container
	flags *flag.FlagSet
	args  []string
	log   *log.Logger
}

// Run is the Workload.
func Run(ctx context.Context, c *workload.Container) error {
	args := slices.Concat(c.Spec.Command, c.Spec.Args)
	if len(args) > 0 && path.Base(args[0]) == "agnhost" {
		args = args[1:]
	}
	if len(args) == 0 {
		args = []string{"pause"}
	}
	run := programs[args[0]]
	if run == nil {
		return fmt.Errorf("agnhost: there is no %q here, but %s", args[0], strings.Join(slices.Sorted(maps.Keys(programs)), ", "))
	}
	p := &program{
		Container: c, flags: flag.NewFlagSet("agnhost "+args[0], flag.ContinueOnError),
		args: args[1:], log: log.New(c.Stderr, "", log.LstdFlags),
	}
	p.flags.SetOutput(c.Stderr)
	return run(ctx, p)
}

// parse reads the arguments, of which rest are no flags.
func (p *program) parse(rest int) error {
	var words []string
	for args := p.args; len(args) > 0; { // flags may come after words
		if err := p.flags.Parse(args); err != nil {
			return workload.Exit{Code: 1} // the flag set has said why
		}
		if args = p.flags.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	if len(words) != rest {
		return fmt.Errorf("%s: accepts %d arg(s), received %d", p.flags.Name(), rest, len(words))
	}
	p.args = words
	return nil
}

func pause(ctx context.Context, p *program) error { return workload.Pause(ctx, p.Container) }

// variable is an environment variable of the container.
func (p *program) variable(name string) (string, bool) {
	i := slices.IndexFunc(p.Spec.Env, func(v corev1.EnvVar) bool { return v.Name == name })
	if i < 0 {
		return "", false
	}
	return p.Spec.Env[i].Value, true
}

func (p *program) hostname() string {
	name, _ := p.variable("HOSTNAME")
	return name
}
