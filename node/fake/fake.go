// Package fake is the agent of nodes that are only simulated: Nodes that are Ready and
// Pods that are Running in the API, behind which there is no machine, no namespace and no
// process. With them one sees how the rest of a cluster fares with thousands of Pods.
//
// Upstream counterpart: kwok. In flow the fake Nodes and, in one watch, the Pods of all
// nodes; out flow what agents write: the Nodes, their Leases, the statuses of their Pods,
// Events. A Pod gets an address of its node's range, which no packet ever reaches. Its
// containers start at once and are ready; those of a Pod that is not to be restarted end
// well after a second, and a Pod that is deleted has nothing to finish. Logs, exec and
// port-forward are answered with an error that says so (server.go).
//
// One queue of nodes (nodes.go) and one of Pods (pods.go) serve them all; what becomes of
// a Pod is a pure function (play.go). Left out: probes, images, deadlines, admission.
package fake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"orrery.example.org/host"
	"orrery.example.org/node/server"
	"orrery.example.org/pki"
)

// Config of the fake nodes.
type Config struct {
	Count   int      `mapstructure:"count" usage:"how many nodes"`
	Prefix  string   `mapstructure:"prefix" usage:"of their names: fake makes fake1, fake2, …"`
	Address string   `mapstructure:"address" usage:"InternalIP of all of them, where the HTTPS server listens that answers for them"`
	Port    int      `mapstructure:"port" usage:"of the HTTPS server"`
	Labels  []string `mapstructure:"labels" usage:"more labels for the Nodes, each key=value"`
	MaxPods int      `mapstructure:"max-pods" usage:"room for Pods on each of them"`
	CPU     string   `mapstructure:"cpu" usage:"processors that each of them claims to have"`
	Memory  string   `mapstructure:"memory" usage:"memory that each of them claims to have"`

	LeaseDuration  time.Duration `mapstructure:"lease-duration" usage:"of the Nodes' Leases"`
	RenewInterval  time.Duration `mapstructure:"renew-interval" usage:"of the Leases"`
	StatusInterval time.Duration `mapstructure:"status-interval" usage:"of a Node status that did not change"`

	Host     *host.Host   `mapstructure:"-"`
	Client   *rest.Config `mapstructure:"-"`
	Serving  pki.Pair     `mapstructure:"-"` // certificate of the HTTPS server
	ClientCA []byte       `mapstructure:"-"` // PEM; who signs the certificates that may enter
	Log      *slog.Logger `mapstructure:"-"`
}

// Defaults are a node agent's, and for what a node claims to have kwok's.
func Defaults() Config {
	return Config{
		Count: 1, Prefix: "fake", Port: 10250, MaxPods: 110, CPU: "32", Memory: "256Gi",
		LeaseDuration: 40 * time.Second, RenewInterval: 10 * time.Second, StatusInterval: 5 * time.Minute,
	}
}

// TypeLabel is on every fake Node, with the value TypeFake, so that what needs a real one
// can ask for that. Virtual kubelets, and kwok in its examples, use the same label.
const (
	TypeLabel = "type"
	TypeFake  = "fake"
)

// Name is the i-th node's, from 1.
func (c Config) Name(i int) string { return fmt.Sprintf("%s%d", c.Prefix, i) }

func (c Config) validate() error {
	var errs []error
	if c.Count < 1 {
		errs = append(errs, fmt.Errorf("count %d: at least 1 is needed", c.Count))
	}
	if _, err := netip.ParseAddr(c.Address); err != nil {
		errs = append(errs, fmt.Errorf("address: %w", err))
	}
	if _, err := c.resources(); err != nil {
		errs = append(errs, err)
	}
	if c.Client == nil {
		errs = append(errs, errors.New("a client configuration for the API server is needed"))
	}
	if c.RenewInterval <= 0 || c.RenewInterval >= c.LeaseDuration {
		errs = append(errs, fmt.Errorf("renew-interval %s must be shorter than lease-duration %s", c.RenewInterval, c.LeaseDuration))
	}
	return errors.Join(errs...)
}

// Nodes is the agent of all the fake nodes.
type Nodes struct {
	cfg    Config
	client kubernetes.Interface
	server *server.Server
	ready  chan struct{}

	fakes []*fake          // in the order of their numbers
	names map[string]*fake // the same by name; never changes

	nodes    corelisters.NodeLister
	pods     cache.Indexer
	nodeWork workqueue.TypedRateLimitingInterface[string]
	podWork  workqueue.TypedRateLimitingInterface[cache.ObjectName]

	mu      sync.Mutex
	unready int                   // nodes that were never reported as Ready
	tenants map[types.UID]*tenant // the Pods that something is known of beside the object
}

// New makes the agent. It starts nothing.
func New(c Config) (*Nodes, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("fake nodes: %w", err)
	}
	rc := rest.CopyConfig(c.Client)
	rc.UserAgent = "kubelet" // which managedFields will show
	rc.ContentType, rc.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("fake nodes: %w", err)
	}
	n := newNodes(c, client)
	n.server, err = server.New(server.Config{
		Host: c.Host, Address: c.Address, Port: c.Port, Serving: c.Serving, ClientCA: c.ClientCA, Client: client, Log: c.Log,
	}, n)
	if err != nil {
		return nil, fmt.Errorf("fake nodes: %w", err)
	}
	return n, nil
}

// newNodes is New for any client, and without the server.
func newNodes(c Config, client kubernetes.Interface) *Nodes {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](20*time.Millisecond, 7*time.Second)
	podLimiter := workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](20*time.Millisecond, 7*time.Second)
	n := &Nodes{
		cfg: c, client: client, ready: make(chan struct{}), unready: c.Count,
		names: map[string]*fake{}, tenants: map[types.UID]*tenant{},
		nodeWork: workqueue.NewTypedRateLimitingQueue(limiter), podWork: workqueue.NewTypedRateLimitingQueue(podLimiter),
	}
	for i := range c.Count {
		f := &fake{name: c.Name(i + 1)}
		n.fakes, n.names[f.name] = append(n.fakes, f), f
	}
	return n
}

// Ready is closed when every node was Ready in the API.
func (n *Nodes) Ready() <-chan struct{} { return n.ready }

// How many nodes and Pods are worked on at once.
const (
	nodeWorkers = 8
	podWorkers  = 16
)

// Run runs the nodes until ctx is cancelled. Nodes and Pods stay in the API, as they do
// when machines lose power.
func (n *Nodes) Run(ctx context.Context) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: n.client.CoreV1().Events("")})
	for _, f := range n.fakes {
		f.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: f.name})
	}
	group, ctx := errgroup.WithContext(ctx)
	if n.server != nil {
		group.Go(func() error { return n.server.Run(ctx) })
	}
	group.Go(func() error { return n.work(ctx) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("fake nodes: %w", err)
	}
	return nil
}

// work fills the caches, then runs the queues. Every Pod is known before a node has
// addresses for new ones.
func (n *Nodes) work(ctx context.Context) error {
	defer n.nodeWork.ShutDown()
	defer n.podWork.ShutDown()
	synced, stop, err := n.watch(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if !cache.WaitFor(ctx, "", synced...) {
		return nil // ctx ended first
	}
	for _, f := range n.fakes {
		n.nodeWork.Add(f.name)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.keepLeases(ctx) })
	for range nodeWorkers {
		group.Go(func() error { return serve(ctx, n.nodeWork, n.syncNode, n.cfg.Log) })
	}
	for range podWorkers {
		group.Go(func() error { return serve(ctx, n.podWork, n.syncPod, n.cfg.Log) })
	}
	<-ctx.Done()
	n.nodeWork.ShutDown()
	n.podWork.ShutDown()
	return group.Wait()
}

// byNode indexes the Pods of fake nodes by their node's name.
const byNode = "node"

// watch starts one watch of the fake Nodes and one of all Pods that have a node.
func (n *Nodes) watch(ctx context.Context) (synced []cache.DoneChecker, stop func(), err error) {
	nodes := informers.NewSharedInformerFactoryWithOptions(n.client, n.cfg.StatusInterval, informers.WithTransform(n.slim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = TypeLabel + "=" + TypeFake }))
	pods := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithTransform(n.slim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
		}))
	n.nodes, n.pods = nodes.Core().V1().Nodes().Lister(), pods.Core().V1().Pods().Informer().GetIndexer()
	err = pods.Core().V1().Pods().Informer().AddIndexers(cache.Indexers{byNode: func(obj any) ([]string, error) {
		return []string{obj.(*corev1.Pod).Spec.NodeName}, nil
	}})
	if err != nil {
		return nil, nil, err
	}
	watchedNodes, err := nodes.Core().V1().Nodes().Informer().AddEventHandler(n.nodeHandler())
	if err != nil {
		return nil, nil, err
	}
	watchedPods, err := pods.Core().V1().Pods().Informer().AddEventHandler(n.podHandler())
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	nodes.StartWithContext(ctx)
	pods.StartWithContext(ctx)
	return []cache.DoneChecker{watchedNodes.HasSyncedChecker(), watchedPods.HasSyncedChecker()}, func() {
		cancel()
		nodes.Shutdown()
		pods.Shutdown()
	}, nil
}

// slim drops what is never read here: of an object that is not ours, all but its name.
func (n *Nodes) slim(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		if n.names[o.Spec.NodeName] == nil {
			return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion}}, nil
		}
		o.ManagedFields = nil
	case *corev1.Node:
		o.ManagedFields = nil
	}
	return obj, nil
}

// serve works on names until the queue is shut down. One that failed comes back later.
func serve[K comparable](ctx context.Context, queue workqueue.TypedRateLimitingInterface[K], sync func(context.Context, K) error, log *slog.Logger) error {
	for {
		key, end := queue.Get()
		if end {
			return nil
		}
		err := sync(ctx, key)
		switch {
		case err == nil || ctx.Err() != nil:
			queue.Forget(key)
		default:
			if !errors.Is(err, errNoAddresses) {
				log.Info("a fake node, will try again", "key", key, "err", err)
			}
			queue.AddRateLimited(key)
		}
		queue.Done(key)
	}
}
