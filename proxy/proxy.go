package proxy

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

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
	mode     atomic.Pointer[mode] // whose rules serve; the loop's to change
	requests chan request
	others   bool // rules of other modes could not be removed; the loop's

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
	p := &Proxy{
		cfg: cfg, client: client, log: log,
		queue: newQueue(), metrics: newMetrics(), ready: make(chan struct{}), requests: make(chan request),
	}
	mode, err := modeOf(cfg.Mode)
	if err != nil {
		return nil, err
	}
	p.mode.Store(mode)
	p.health = newHealth(cfg, p.metrics)
	p.checks = newHealthChecks(cfg.Host, p.health, log)
	for _, f := range cfg.IPFamilies {
		p.families = append(p.families, p.newFamily(plan.Family(f)))
	}
	return p, nil
}

func (p *Proxy) newFamily(name plan.Family) *family {
	f := &family{name: name, log: p.log.With("family", string(name)), plans: map[plan.Name]*plan.Service{}}
	p.equip(f, p.mode.Load())
	return f
}

// equip gives a family the backend of a mode. The kernel is not asked yet.
func (p *Proxy) equip(f *family, m *mode) {
	f.mode, f.backend, f.needFull = m, m.make(p.cfg, f.name, f.log), true
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
		p.setSysctls()
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
		closeBackend(f.backend)
	}
	if p.cfg.CleanupOnExit {
		err = cmp.Or(err, Cleanup(context.WithoutCancel(ctx), p.cfg.Host))
	}
	if err != nil {
		return fmt.Errorf("proxy of %s: %w", p.cfg.NodeName, err)
	}
	return nil
}

// startBackends prepares the machine while the informers still read their lists.
func (p *Proxy) startBackends(ctx context.Context) error {
	for _, f := range p.families {
		p.openLocalhost(f)
		if err := f.backend.Start(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}
