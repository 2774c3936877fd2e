package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"orrery.example.org/controller"
	"orrery.example.org/dns"
	"orrery.example.org/host"
	"orrery.example.org/lab"
	"orrery.example.org/lb"
	"orrery.example.org/proxy"
)

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve COMPONENT",
		Short: "Run one component of a cluster in this process",
		Long: `Run one component of a cluster in this process, until SIGTERM.

Its configuration comes from flags, then ORRERY_* environment variables, then the file
that --config names, then defaults; configs/ has one commented file per component.`,
		Example: `  # An API server with its own etcd; it writes a kubeconfig for each other component
  ctl serve apiserver --config configs/apiserver.yaml

  # The controllers
  ctl serve controller --config configs/controller.yaml`,
		Args: cobra.NoArgs,
		Run:  func(cmd *cobra.Command, _ []string) { _ = cmd.Help() },
	}
	cmd.AddCommand(newServeAPIServerCommand(), serveController(), serveNode(), serveProxy(), serveDNS(), serveLB(), serveNetwork(), serveFakeNodes())
	return cmd
}

// ClusterAccess is the configuration of components that talk to the API server.
type ClusterAccess struct {
	Kubeconfig string `mapstructure:"kubeconfig" usage:"how to reach the API server, and as whom"`
}

func (a ClusterAccess) client() (*rest.Config, error) {
	if a.Kubeconfig == "" {
		return nil, fmt.Errorf("kubeconfig is not set: name the file that ctl serve apiserver wrote for this component")
	}
	raw, err := clientcmd.LoadFromFile(a.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	if context := raw.Contexts[raw.CurrentContext]; context != nil {
		if err := lab.CheckNetwork(raw.Clusters[context.Cluster]); err != nil {
			return nil, err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", a.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS = -1 // as in the lab; see pki.ClientConfig
	config.Dial = host.DialQuickly
	return config, nil
}

// component makes the subcommand for one. start gets the loaded configuration and
// returns the Run to run.
func component[C any](name, short string, defaults C, start func(C, *slog.Logger) (func(context.Context) error, error)) *cobra.Command {
	return following(name, short, defaults, func(c C, _ *settings, log *slog.Logger) (func(context.Context) error, error) {
		return start(c, log)
	})
}

// following is component for one that takes a new configuration while it runs, from the
// settings.
func following[C any](name, short string, defaults C, start func(C, *settings, *slog.Logger) (func(context.Context) error, error)) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs}
	settings := bind(cmd, defaults)
	cmd.RunE = own(func(cmd *cobra.Command, _ []string) error {
		config := defaults
		if err := settings.load(&config); err != nil {
			return err
		}
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		slog.SetDefault(log)
		host.NoticeSilence()
		run, err := start(config, settings, log)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return host.ReapOrphans(ctx) }) // as process 1 of a container
		group.Go(func() error {
			defer stop()
			return run(ctx)
		})
		return group.Wait()
	})
	return cmd
}

// controllerConfig is the file of ctl serve controller.
type controllerConfig struct {
	controller.Config   `mapstructure:",squash"`
	ClusterAccess       `mapstructure:",squash"`
	HealthPort          `mapstructure:",squash"`
	SchedulerKubeconfig string `mapstructure:"scheduler-kubeconfig" usage:"the same for the scheduler; by default it is nobody of its own"`
}

func serveController() *cobra.Command {
	return component("controller", "The controllers and the scheduler", controllerConfig{Config: controller.Defaults()},
		func(c controllerConfig, log *slog.Logger) (func(context.Context) error, error) {
			var err error
			if c.Client, err = c.client(); err != nil {
				return nil, err
			}
			if c.SchedulerKubeconfig != "" {
				if c.Scheduler, err = (ClusterAccess{c.SchedulerKubeconfig}).client(); err != nil {
					return nil, err
				}
			}
			c.Log, c.RootCA = log, c.Client.CAData
			manager, err := controller.New(c.Config)
			if err != nil {
				return nil, err
			}
			return c.beside(manager.Run, manager.Ready()), nil
		})
}

// proxyConfig is the file of ctl serve proxy.
type proxyConfig struct {
	proxy.Config  `mapstructure:",squash"`
	ClusterAccess `mapstructure:",squash"`
}

func serveProxy() *cobra.Command {
	return component("proxy", "The service proxy of this machine", proxyConfig{Config: proxy.Defaults()},
		func(c proxyConfig, log *slog.Logger) (func(context.Context) error, error) {
			var err error
			if c.Config.Client, err = c.client(); err != nil {
				return nil, err
			}
			c.Log = log
			p, err := proxy.New(c.Config)
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) error {
				defer settle(ctx, p.Ready())()
				return p.Run(ctx)
			}, nil
		})
}

// settle makes a component small once it is ready. Its start leaves more behind than its
// work ever will, and Go would keep that memory for a heap that grows as large again.
// (10,000 Services: 86 MB instead of 130.)
func settle(ctx context.Context, ready <-chan struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ready:
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(25)
			}
			debug.FreeOSMemory()
		case <-ctx.Done():
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// dnsConfig is the file of ctl serve dns.
type dnsConfig struct {
	dns.Config    `mapstructure:",squash"`
	ClusterAccess `mapstructure:",squash"`
}

func serveDNS() *cobra.Command {
	defaults := dnsConfig{Config: dns.Defaults()}
	return following("dns", "The cluster's DNS server", defaults,
		func(c dnsConfig, s *settings, log *slog.Logger) (func(context.Context) error, error) {
			var err error
			if c.Config.Client, err = c.client(); err != nil {
				return nil, err
			}
			c.Log = log
			reloads := make(chan dns.Reload)
			c.Reloads = reloads
			server, err := dns.New(c.Config)
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) error {
				defer settle(ctx, server.Ready())()
				var g errgroup.Group
				ctx, stop := context.WithCancel(ctx)
				g.Go(func() error {
					for l := range follow(ctx, s, defaults) {
						select {
						case reloads <- dns.Reload{Config: l.config.Config, Err: l.err}:
						case <-ctx.Done():
						}
					}
					return nil
				})
				err := server.Run(ctx)
				stop()
				return errors.Join(err, g.Wait())
			}, nil
		})
}

// lbConfig is the file of ctl serve lb.
type lbConfig struct {
	lb.Config     `mapstructure:",squash"`
	ClusterAccess `mapstructure:",squash"`
	HealthPort    `mapstructure:",squash"`
}

func serveLB() *cobra.Command {
	return component("lb", "The load balancer in front of the nodes, on this machine", lbConfig{Config: lb.Defaults()},
		func(c lbConfig, log *slog.Logger) (func(context.Context) error, error) {
			var err error
			if c.Config.Client, err = c.client(); err != nil {
				return nil, err
			}
			c.Log = log
			balancer, err := lb.New(c.Config)
			if err != nil {
				return nil, err
			}
			return c.beside(balancer.Run, balancer.Ready()), nil
		})
}
