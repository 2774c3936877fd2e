// Package lab builds a whole cluster in one process and takes it down again: the
// networks (fabric.go), the order in which the components start (boot.go), what a
// cluster is furnished with (addons.go, mirror.go), and the door for ctl (control.go).
//
// It is the only package that wires components together. They are the same ones, run
// by the same Run, that `ctl serve` runs one by one; here each gets a Host that is
// bound to its own place, and a client whose connections leave from there. Nothing
// is passed to them but through the API.
//
// Upstream counterparts: kind, and kubeadm for the order of things.
package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"orrery.example.org/node/workload"
	"orrery.example.org/proxy"
)

// stopTimeout is how long a lab may take to stop in good order.
const stopTimeout = 20 * time.Second

// Config of a lab.
type Config struct {
	Nodes     int    `mapstructure:"nodes" usage:"number of nodes"`
	FakeNodes int    `mapstructure:"fake-nodes" usage:"number of nodes more that are only simulated: their Pods are Running in the API and run nowhere"`
	APIPort   int    `mapstructure:"api-port" usage:"port of the API on 127.0.0.1; another one is chosen where the default is taken"`
	IPFamily  string `mapstructure:"ip-family" usage:"ipv4, or dual: Pods, Services and nodes have addresses of IPv6 as well"`
	ProxyMode string `mapstructure:"proxy-mode" usage:"how the service proxies program the kernel: iptables, nftables or ipvs"`
	// Images come before the catalog's.
	Images []workload.Image `mapstructure:"images"`
	// NoFsync trades the safety of etcd's data for speed: for labs that are thrown away.
	NoFsync bool `mapstructure:"unsafe-no-fsync" usage:"do not wait for the disk; a power cut may lose the cluster's data"`

	State        State `mapstructure:"-"`
	ExplicitPort bool  `mapstructure:"-"` // a taken APIPort is an error
	Tied         bool  `mapstructure:"-"` // end with the parent process
}

// Defaults are what `ctl up` starts.
func Defaults() Config {
	return Config{Nodes: 3, APIPort: 6443, IPFamily: IPv4, ProxyMode: proxy.ModeIPTables}
}

// Lab is one running cluster.
type Lab struct {
	config  Config
	log     *slog.Logger
	started time.Time
}

// New checks the configuration. It starts nothing.
func New(c Config) (*Lab, error) {
	if c.Nodes < 1 || c.Nodes > maxNodes {
		return nil, fmt.Errorf("a lab has 1 to %d nodes, not %d", maxNodes, c.Nodes)
	}
	if c.FakeNodes < 0 || c.Nodes+c.FakeNodes > maxAllNodes {
		return nil, fmt.Errorf("a lab has up to %d nodes, the fake ones included, not %d and %d fake ones", maxAllNodes, c.Nodes, c.FakeNodes)
	}
	if c.APIPort < 0 || c.APIPort > 65535 {
		return nil, fmt.Errorf("invalid API port %d: use 1 to 65535, or 0 for any free one", c.APIPort)
	}
	if err := c.checkFamily(); err != nil {
		return nil, err
	}
	if !slices.Contains(proxy.Modes(), c.ProxyMode) {
		return nil, fmt.Errorf("unknown proxy mode %q: the lab knows %s", c.ProxyMode, strings.Join(proxy.Modes(), ", "))
	}
	if err := workload.Check(c.Images); err != nil {
		return nil, err
	}
	return &Lab{config: c, log: slog.Default(), started: time.Now()}, nil
}

// Run brings the cluster up, reports each step and the last one as ready, and keeps
// it until ctx ends or a component fails. When it returns, nothing of it is left but
// its state directory.
func (l *Lab) Run(ctx context.Context, report func(Step)) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c, err := l.boot(ctx, fail, func(name, detail string) {
		report(Step{Name: name, Detail: detail, Elapsed: time.Since(l.started)})
	})
	if c != nil {
		defer c.close()
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause // a component's own error says more than who waited for it
		}
		return err
	}
	report(Step{Detail: c.url, Elapsed: time.Since(l.started), Ready: true})
	settle()
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// settle makes the process small now that it has started. Afterwards its heap may grow by
// half between collections, not to the double: the objects of a cluster live long, and are
// packed closer that way. (1,000 Pods: 195 KB each instead of 267, for the same CPU time.)
func settle() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	debug.FreeOSMemory()
}

// group runs components side by side and ends them together.
type group struct {
	ctx  context.Context
	stop context.CancelFunc
	fail context.CancelCauseFunc // of the whole lab
	wg   sync.WaitGroup
}

func newGroup(fail context.CancelCauseFunc) *group {
	// Not below the lab's context: the lab ends its groups one after the other.
	ctx, stop := context.WithCancel(context.Background())
	return &group{ctx: ctx, stop: stop, fail: fail}
}

// run starts a component. A component that returns before it was told to ends the lab.
func (g *group) run(name string, run func(context.Context) error) {
	g.wg.Go(func() {
		err := run(g.ctx)
		if g.ctx.Err() != nil {
			if err != nil {
				slog.Warn("component ended badly", "component", name, "error", err)
			}
			return
		}
		if err == nil {
			err = errors.New("it returned")
		}
		g.fail(fmt.Errorf("%s: %w", name, err))
	})
}

// end stops the group's components and waits for them.
func (g *group) end() {
	g.stop()
	g.wg.Wait()
}
