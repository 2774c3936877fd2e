// Package controller runs the cluster's loops: each watches some kinds of object and
// writes others, until what is agrees with what should be.
//
// Upstream counterpart: kube-controller-manager and kube-scheduler in one process.
//
// What flows in: watches, through informers that all loops share. What flows out:
// writes to the same API server, and Events that tell people about them. Loops never
// call each other. A Deployment makes a ReplicaSet, and that is all it does: the
// ReplicaSet's loop sees it and makes Pods, the scheduler sees those and binds them, a
// node runs them, the endpoint loops see them ready. The chain exists only in the API.
//
// Left out of upstream's: Jobs, DaemonSets, StatefulSets, volumes, quotas, cloud nodes,
// and everything for kinds that this cluster does not have.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/controller/bootstrapsigner"
	"orrery.example.org/controller/clusterroleaggregation"
	"orrery.example.org/controller/csrapproving"
	"orrery.example.org/controller/csrcleaner"
	"orrery.example.org/controller/csrsigning"
	"orrery.example.org/controller/deployment"
	"orrery.example.org/controller/disruption"
	"orrery.example.org/controller/endpoints"
	"orrery.example.org/controller/endpointslice"
	"orrery.example.org/controller/endpointslicemirroring"
	"orrery.example.org/controller/garbagecollector"
	"orrery.example.org/controller/ipaddress"
	"orrery.example.org/controller/loadbalancer"
	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/namespace"
	"orrery.example.org/controller/nodeipam"
	"orrery.example.org/controller/nodelifecycle"
	"orrery.example.org/controller/podgc"
	"orrery.example.org/controller/replicaset"
	"orrery.example.org/controller/resources"
	"orrery.example.org/controller/scheduler"
	"orrery.example.org/controller/serviceaccount"
	"orrery.example.org/controller/servicecidr"
	"orrery.example.org/controller/tokencleaner"
)

// nodeSyncs is how many nodes, and Pods to evict, are worked on at once. Upstream has
// no flag for it either.
const nodeSyncs = 8

// Loop is one controller.
type Loop interface {
	Name() string
	Synced() []cache.DoneChecker
	Run(ctx context.Context) error
}

// Manager owns the loops.
type Manager struct {
	cfg   Config
	log   *slog.Logger
	ready chan struct{}

	client    kubernetes.Interface // the manager's own: it reads for all loops
	discovery discovery.DiscoveryInterfaceWithContext
	metadata  metadata.Interface
	scheduler kubernetes.Interface

	nobody *rest.Config      // how to reach the API server, as nobody
	shared http.RoundTripper // the connection that all loops' accounts share
}

// New prepares a manager. It talks to nobody yet.
func New(cfg Config) (*Manager, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, log: cfg.Log, ready: make(chan struct{})}
	if err := m.connect(); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	return m, nil
}

// connect makes the clients, of the manager and for the loops (identity.go).
func (m *Manager) connect() error {
	c := rest.CopyConfig(m.cfg.Client)
	c.UserAgent = "kube-controller-manager"
	c.QPS = -1 // no limit of our own; the API server says when it has enough
	c.WarningHandlerWithContext = rest.NoWarnings{}
	httpClient, err := rest.HTTPClientFor(c)
	if err != nil {
		return err
	}
	own, err := newClients(c, httpClient)
	if err != nil {
		return err
	}
	m.client, m.metadata, m.discovery = own.typed, own.metadata, own.typed.Discovery().(discovery.DiscoveryInterfaceWithContext)
	m.nobody = rest.AnonymousClientConfig(c)
	if m.shared, err = rest.TransportFor(m.nobody); err != nil {
		return err
	}
	m.scheduler = m.client
	if m.cfg.Scheduler != nil {
		c := rest.CopyConfig(m.cfg.Scheduler)
		c.UserAgent, c.QPS = "kube-scheduler", -1
		c.ContentType, c.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
		m.scheduler, err = kubernetes.NewForConfig(c)
	}
	return err
}

// Ready is closed when every loop has seen the state of the cluster and works.
// Under leader election, that is when this manager leads.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Run works until ctx is done. It may be called once.
func (m *Manager) Run(ctx context.Context) error {
	if m.cfg.LeaderElect {
		return m.lead(ctx, m.work)
	}
	return m.work(ctx)
}

// place is what a loop is given: clients of its own account's, and what all share.
type place struct {
	loop.Env
	kinds *resources.Catalog
}

// loops lists every loop, in the order in which a change travels through them.
func (m *Manager) loops(env loop.Env, catalog *resources.Catalog) ([]Loop, error) {
	c := m.cfg
	type constructor struct {
		account string // in whose name the loop writes
		workers int
		make    func(place) (Loop, error)
	}
	publisher, err := m.as("root-ca-cert-publisher")
	if err != nil {
		return nil, err
	}
	all := []constructor{
		{"node-controller", 1, func(p place) (Loop, error) { return nodeipam.New(p.Env, c.nodeRanges()) }},
		{"deployment-controller", c.ConcurrentDeploymentSyncs, func(p place) (Loop, error) { return deployment.New(p.Env) }},
		{"replicaset-controller", c.ConcurrentReplicaSetSyncs, func(p place) (Loop, error) { return replicaset.New(p.Env) }},
		{"kube-scheduler", c.ConcurrentBindings, func(p place) (Loop, error) {
			p.Client = m.scheduler
			return scheduler.New(p.Env)
		}},
		{"endpoint-controller", c.ConcurrentEndpointSyncs, func(p place) (Loop, error) { return endpoints.New(p.Env) }},
		{"endpointslice-controller", c.ConcurrentServiceEndpointSyncs, func(p place) (Loop, error) { return endpointslice.New(p.Env) }},
		{"endpointslicemirroring-controller", c.ConcurrentServiceEndpointSyncs, func(p place) (Loop, error) { return endpointslicemirroring.New(p.Env) }},
		{"node-controller", nodeSyncs, func(p place) (Loop, error) {
			return nodelifecycle.New(p.Env, nodelifecycle.Options{
				MonitorPeriod: c.NodeMonitorPeriod, GracePeriod: c.NodeMonitorGracePeriod, StartupGracePeriod: c.NodeStartupGracePeriod,
			})
		}},
		{"node-controller", nodeSyncs, func(p place) (Loop, error) { return nodelifecycle.NewEvictor(p.Env) }},
		{"pod-garbage-collector", 1, func(p place) (Loop, error) { return podgc.New(p.Env, podgc.Quarantine) }},
		{"disruption-controller", 1, func(p place) (Loop, error) { return disruption.New(p.Env, p.kinds) }},
		{"service-account-controller", 1, func(p place) (Loop, error) {
			return serviceaccount.New(p.Env, p.kinds, serviceaccount.Publisher{CA: c.RootCA, Reader: m.client, Writer: publisher.typed})
		}},
		{"clusterrole-aggregation-controller", 1, func(p place) (Loop, error) { return clusterroleaggregation.New(p.Env), nil }},
		{"bootstrap-signer", 1, func(p place) (Loop, error) { return bootstrapsigner.New(p.Env, p.kinds) }},
		{"token-cleaner", 1, func(p place) (Loop, error) { return tokencleaner.New(p.Env, p.kinds) }},
		{"certificate-controller", 1, func(p place) (Loop, error) {
			return csrapproving.New(p.Env, csrapproving.Options{KubeletServing: c.ApproveKubeletServing}), nil
		}},
		{"certificate-controller", 1, func(p place) (Loop, error) {
			return csrsigning.New(p.Env, csrsigning.Options{CA: c.signer(), MaxTTL: c.ClusterSigningDuration}), nil
		}},
		{"certificate-controller", 1, func(p place) (Loop, error) { return csrcleaner.New(p.Env), nil }},
		{"service-cidrs-controller", 1, func(p place) (Loop, error) {
			return servicecidr.New(p.Env, servicecidr.Settling), nil
		}},
		{"ip-address-controller", 1, func(p place) (Loop, error) { return ipaddress.New(p.Env, ipaddress.Settling) }},
		{"namespace-controller", c.ConcurrentNamespaceSyncs, func(p place) (Loop, error) { return namespace.New(p.Env, p.kinds), nil }},
		{"generic-garbage-collector", c.ConcurrentGCSyncs, func(p place) (Loop, error) { return garbagecollector.New(p.Env, p.kinds), nil }},
	}
	if len(c.LoadBalancerPool) > 0 {
		all = append(all, constructor{"service-controller", 1, func(p place) (Loop, error) { return loadbalancer.New(p.Env, c.loadBalancers()) }})
	}
	var loops []Loop
	for _, l := range all {
		who, err := m.as(l.account)
		if err != nil {
			return nil, err
		}
		env.Workers, env.Client = l.workers, who.typed
		made, err := l.make(place{env, catalog.As(who.metadata)})
		if err != nil {
			return nil, err
		}
		loops = append(loops, made)
	}
	return loops, nil
}

// work builds the loops, lets their caches fill, and runs them.
func (m *Manager) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	catalog := m.discover(ctx)
	if catalog == nil {
		return nil // ctx ended first
	}
	events := loop.StartEvents(ctx, m.client)
	defer events.Close()
	factory := informers.NewSharedInformerFactoryWithOptions(m.client, 0, informers.WithTransform(slim))
	slimmed, err := m.watch(factory, catalog)
	if err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	loops, err := m.loops(loop.Env{
		Client: m.client, Informers: factory, Recorder: events.Recorder, Log: m.log,
	}, catalog)
	if err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	defer slimmed.Shutdown()
	defer factory.Shutdown()
	defer cancel() // runs before the two above wait
	factory.StartWithContext(ctx)
	slimmed.Start(ctx.Done())

	var synced []cache.DoneChecker
	for _, l := range loops {
		synced = append(synced, l.Synced()...)
	}
	if !cache.WaitFor(ctx, "", synced...) {
		return nil // ctx ended first
	}
	return m.run(ctx, loops, func() {
		m.log.Info("controllers running", "loops", len(loops), "took", time.Since(start).Round(time.Microsecond))
		close(m.ready)
	})
}

// run runs the loops together: when one fails, all end.
func (m *Manager) run(ctx context.Context, loops []Loop, started func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, l := range loops {
		wg.Go(func() {
			defer cancel()
			if err := l.Run(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	started()
	wg.Wait()
	return errors.Join(errs...)
}
