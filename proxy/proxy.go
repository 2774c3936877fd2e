package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/host"
	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/nftables"
	"orrery.example.org/proxy/plan"
)

// backend is a way to make a kernel do what a plan says.
type backend interface {
	// Start finds out what the machine offers. Nothing is programmed yet.
	Start(ctx context.Context) error
	// Full makes the kernel hold exactly the snapshot, whatever it holds now.
	Full(ctx context.Context, s plan.Snapshot) (plan.Report, error)
	// Change moves some Services on. The kernel must hold their old plans.
	Change(ctx context.Context, changes []plan.Change) (plan.Report, error)
	// Intact is a cheap check that nobody has flushed the rules.
	Intact(ctx context.Context) (bool, error)
	// Cleanup removes everything.
	Cleanup(ctx context.Context) error
}

// Proxy is the Service proxy of one node.
type Proxy struct {
	cfg      Config
	client   kubernetes.Interface
	log      *slog.Logger
	families []*family
	queue    *queue
	health   *health
	metrics  *metrics
	checks   *healthChecks
	ready    chan struct{}

	nodeFacts string // what plans depend on, as last seen; of the node informer alone
}

// New makes a Proxy. Nothing runs yet.
func New(cfg Config) (*Proxy, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Client == nil {
		return nil, fmt.Errorf("proxy: no API client configured")
	}
	rc := rest.CopyConfig(cfg.Client)
	rc.ContentType = "application/vnd.kubernetes.protobuf"
	rc.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("proxy: API client: %w", err)
	}
	return newProxy(cfg, client)
}

func newProxy(cfg Config, client kubernetes.Interface) (*Proxy, error) {
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	log = log.With("component", "proxy", "node", cfg.NodeName)
	p := &Proxy{
		cfg: cfg, client: client, log: log,
		queue: newQueue(), metrics: newMetrics(cfg.Mode), ready: make(chan struct{}),
	}
	p.health = newHealth(cfg, p.metrics)
	p.checks = newHealthChecks(cfg.Host, p.health, log)
	for _, f := range cfg.IPFamilies {
		p.families = append(p.families, p.newFamily(plan.Family(f)))
	}
	return p, nil
}

func (p *Proxy) newFamily(f plan.Family) *family {
	log := p.log.With("family", string(f))
	return &family{name: f, log: log, plans: map[plan.Name]*plan.Service{}, needFull: true, backend: p.newBackend(f, log)}
}

func (p *Proxy) newBackend(f plan.Family, log *slog.Logger) backend {
	if p.cfg.Mode == ModeNFTables {
		serviceCIDR, _ := firstOf(f, p.cfg.ServiceCIDR) // validated
		return nftables.New(nftables.Config{Host: p.cfg.Host, Log: log, Settings: nftables.Settings{
			Family: f, MasqueradeAll: p.cfg.MasqueradeAll, MasqueradeBit: p.cfg.MasqueradeBit, ServiceCIDR: serviceCIDR,
		}})
	}
	return iptables.New(iptables.Config{
		Host: p.cfg.Host, Family: f, Variant: p.cfg.IPTablesVariant, Log: log,
		MasqueradeAll: p.cfg.MasqueradeAll, MasqueradeBit: p.cfg.MasqueradeBit,
		LocalhostNodePorts: p.cfg.LocalhostNodePorts,
	})
}

// Ready is closed when the kernel holds the rules of everything that was known at the start.
func (p *Proxy) Ready() <-chan struct{} { return p.ready }

// Run keeps the kernel's rules true until ctx ends. The rules stay, unless the Config
// asks for their removal: a node goes on serving while its proxy is replaced.
func (p *Proxy) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if err := p.serve(ctx, g); err != nil {
		return err
	}
	informers := p.newInformers()
	informers.start(ctx, g)
	g.Go(func() error {
		if err := p.startBackends(ctx); err != nil {
			return err
		}
		if !informers.waitForSync(ctx) {
			return nil
		}
		p.loop(ctx, informers)
		return nil
	})
	err := g.Wait()
	for _, f := range p.families {
		if p.cfg.CleanupOnExit {
			if cleanErr := f.backend.Cleanup(context.WithoutCancel(ctx)); cleanErr != nil && err == nil {
				err = cleanErr
			}
		}
		if c, ok := f.backend.(io.Closer); ok {
			_ = c.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("proxy of %s: %w", p.cfg.NodeName, err)
	}
	return nil
}

// startBackends prepares the machine while the informers still read their lists.
func (p *Proxy) startBackends(ctx context.Context) error {
	p.openLocalhost()
	for _, f := range p.families {
		if err := f.backend.Start(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// removeOtherMode removes what a proxy of another mode left behind (P40). It comes after
// the own rules are in place, so that at every moment some rules serve; connections that
// are there already are conntrack's and notice nothing.
func (p *Proxy) removeOtherMode(ctx context.Context) {
	cleanup := nftables.CleanupAll
	if p.cfg.Mode == ModeNFTables {
		cleanup = iptables.CleanupAll
	}
	if err := cleanup(ctx, p.cfg.Host); err != nil && ctx.Err() == nil {
		p.log.Error("cannot remove the rules of another mode", "err", err)
	}
}

// Cleanup removes all rules of kube-proxy's from a network namespace, of both families,
// of all modes, and of both variants of iptables as far as the machine has them.
func Cleanup(ctx context.Context, h *host.Host) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return errors.Join(iptables.CleanupAll(ctx, h), nftables.CleanupAll(ctx, h))
}
