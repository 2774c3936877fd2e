// Package lb is the data path of a cloud's load balancer: it runs on a machine of its
// own, to which the network brings every packet for an address of the pool, and passes
// each on to a healthy node.
//
// Upstream has no counterpart: it is what the cloud of a cloud provider does. This one
// works as the passthrough balancers of large clouds do. The packet arrives at the node
// as the client sent it, with the balancer's address as its destination, so that the
// node's service proxy can keep what the Service promises: source ranges, the client's
// address under externalTrafficPolicy Local, ports without NodePorts. The node answers
// the client directly. docs/decisions/0008 compares this with other ways.
//
// What flows in: Services with their addresses, Nodes, and the answers to health checks.
// What flows out: a table of nftables and a routing table per node; all packets stay in
// the kernel. What goes where is decided in lb/plan, which is pure.
//
// Left out: weights, sending ICMP errors after the connections that they are about,
// and sharing the work with other balancers, for which Maglev's table would be ready.
package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/lb/plan"
)

// The delays between attempts after failures.
const (
	firstAttempt = 100 * time.Millisecond
	lastAttempt  = 10 * time.Second
)

// Balancer is one load balancer.
type Balancer struct {
	cfg     Config
	client  kubernetes.Interface
	log     *slog.Logger
	kernel  *kernel
	checker *checker
	wake    chan struct{}
	ready   chan struct{}

	mu      sync.Mutex
	current *plan.Plan // what the kernel does
}

// New makes a Balancer. Nothing runs yet.
func New(cfg Config) (*Balancer, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	rc := rest.CopyConfig(cfg.Client)
	rc.ContentType = "application/vnd.kubernetes.protobuf"
	rc.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("load balancer: API client: %w", err)
	}
	return newBalancer(cfg, client), nil
}

func newBalancer(cfg Config, client kubernetes.Interface) *Balancer {
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	b := &Balancer{
		cfg: cfg, client: client, log: log, kernel: newKernel(cfg, log),
		wake: make(chan struct{}, 1), ready: make(chan struct{}), current: &plan.Plan{},
	}
	b.checker = &checker{
		interval: cfg.HealthCheckInterval, thresholds: thresholds{cfg.HealthyThreshold, cfg.UnhealthyThreshold},
		probe: httpProbe(cfg.Host, cfg.HealthCheckTimeout), changed: b.wakeUp, targets: map[plan.Target]*target{},
	}
	return b
}

// Ready is closed when the kernel does what was asked at the start.
func (b *Balancer) Ready() <-chan struct{} { return b.ready }

// Services are the Services with an address here, with what each node does for them.
func (b *Balancer) Services() []plan.Service {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current.Services
}

// Run balances until ctx ends, and then removes rules and routes: the addresses belong
// to a machine that is not there any more. What a process left that was killed goes on
// serving until the first plan of this one takes its place.
func (b *Balancer) Run(ctx context.Context) error {
	if err := becomeRouter(b.cfg.Host, b.kernel.families); err != nil {
		return fmt.Errorf("load balancer: %w", err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(b.client, 0, informers.WithTransform(slim))
	services, nodes := factory.Core().V1().Services().Informer(), factory.Core().V1().Nodes().Informer()
	for _, informer := range []cache.SharedIndexInformer{services, nodes} {
		if _, err := informer.AddEventHandler(handler(b.wakeUp)); err != nil {
			return fmt.Errorf("load balancer: watch: %w", err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		factory.StartWithContext(ctx)
		if cache.WaitForCacheSync(ctx.Done(), services.HasSynced, nodes.HasSynced) {
			b.loop(ctx, services.GetStore(), nodes.GetStore())
		}
		<-ctx.Done()
		factory.Shutdown()
		b.checker.close()
		return nil
	})
	return errors.Join(g.Wait(), Cleanup(context.WithoutCancel(ctx), b.cfg.Host))
}

// loop turns changes into plans and plans into rules.
func (b *Balancer) loop(ctx context.Context, services, nodes cache.Store) {
	check := time.NewTicker(b.cfg.SyncPeriod)
	defer check.Stop()
	retry := time.NewTimer(0) // the first time
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-retry.C:
		case <-check.C:
			b.kernel.check(ctx)
		}
		p := b.plan(ctx, services, nodes)
		if p == nil {
			continue
		}
		err := b.kernel.apply(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			retry.Reset(min(firstAttempt<<min(failures, 10), lastAttempt))
			failures++
			b.log.Error("cannot write rules or routes, will try again", "failures", failures, "err", err)
			continue
		}
		failures = 0
		b.done(p)
	}
}

// plan makes the plan for what is known now, and has health checked as it asks for. At
// the start it is nil until every target has been asked once: with rules that know of no
// healthy node, a restart would refuse connections to nodes that are well.
func (b *Balancer) plan(ctx context.Context, services, nodes cache.Store) *plan.Plan {
	pool, _ := b.cfg.pool() // validated
	in := plan.Input{Pool: pool, NodePort: uint16(b.cfg.HealthCheckPort), Health: b.checker.health}
	for _, obj := range services.List() {
		in.Services = append(in.Services, obj.(*corev1.Service))
	}
	for _, obj := range nodes.List() {
		in.Nodes = append(in.Nodes, obj.(*corev1.Node))
	}
	p := plan.Of(in)
	targets := p.Targets()
	b.checker.watch(ctx, targets)
	select {
	case <-b.ready:
		return p
	default:
	}
	for t := range targets {
		if !b.checker.health(t).Known {
			return nil
		}
	}
	return p
}

func (b *Balancer) done(p *plan.Plan) {
	b.mu.Lock()
	b.current = p
	b.mu.Unlock()
	select {
	case <-b.ready:
	default:
		close(b.ready)
	}
}

func (b *Balancer) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default: // it is awake already
	}
}

// handler calls f whenever something changed. What it was is for the loop to look up.
func handler(f func()) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { f() }, UpdateFunc: func(_, _ any) { f() }, DeleteFunc: func(any) { f() },
	}
}

// slim drops what no plan looks at before an object is stored.
func slim(obj any) (any, error) {
	if o, ok := obj.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	if n, ok := obj.(*corev1.Node); ok {
		n.Status.Images = nil
	}
	return obj, nil
}
