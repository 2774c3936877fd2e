// Package node is the agent of one node: it registers the Node, keeps its Lease
// alive, connects the node to the Pod network, and makes the Pods that are bound to
// it run, reporting what became of them in their status.
//
// Upstream counterparts: kubelet, and below it the container runtime
// (node/sandbox, node/workload, node/console) and the CNI plugin (node/network). In
// flow, over watches, the Pods with spec.nodeName of this node and all Nodes; out
// flow the statuses of those Pods and of the Node, a Lease, Events, and the streams
// of logs, exec, attach and port-forward on the node's own HTTPS port (node/server).
//
// With a shim (node/shim) as their parent, containers' programs go on when the agent ends,
// and the next one takes them over.
//
// Left out as yet: static Pods.
package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"orrery.example.org/node/agnhost"
	"orrery.example.org/node/cgroup"
	"orrery.example.org/node/console"
	"orrery.example.org/node/network"
	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/server"
	"orrery.example.org/node/shim"
	"orrery.example.org/node/workload"
)

// Node is the agent of one node.
type Node struct {
	cfg      Config
	addrs    []netip.Addr
	client   kubernetes.Interface
	all      kubernetes.Interface // sees all Nodes, or
	alone    bool                 // only its own
	catalog  *workload.Catalog
	logs     console.Limits
	dns      sandbox.DNS
	limits   *cgroup.Tree // nil: there are none here
	facts    facts        // from here on set by Run, before the first Pod is handled
	events   record.EventRecorder
	network  *network.Network
	objects  *objects
	services coreinformers.ServiceInformer // set before the first Pod is handled
	self     atomic.Pointer[corev1.Node]   // as last registered
	ready    chan struct{}

	shim     *shim.Client          // nil: the agent is the parent of containers' programs
	leaving  <-chan struct{}       // closed when the agent ends
	legacies map[types.UID]*legacy // of Pods that are not taken over yet

	mu   sync.Mutex
	pods map[types.UID]*pod
}

// New makes an agent. It starts nothing.
func New(c Config) (*Node, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	rc := rest.CopyConfig(c.Client)
	rc.UserAgent = "kubelet" // which managedFields will show
	rc.ContentType = "application/vnd.kubernetes.protobuf"
	rc.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", c.Name, err)
	}
	n := newNode(c, client)
	n.alone = c.Network == nil
	if c.Network != nil {
		rc := rest.CopyConfig(c.Network)
		rc.UserAgent, rc.ContentType, rc.AcceptContentTypes = "orrery-pod-network", "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
		if n.all, err = kubernetes.NewForConfig(rc); err != nil {
			return nil, fmt.Errorf("node %s: %w", c.Name, err)
		}
	}
	return n, nil
}

// newNode is New for a completed configuration and any client.
func newNode(c Config, client kubernetes.Interface) *Node {
	c.Log = c.Log.With("node", c.Name)
	logs, _ := c.logLimits() // completing it has checked them
	return &Node{
		cfg:     c,
		addrs:   c.addrs(),
		client:  client,
		all:     client,
		logs:    logs,
		catalog: workload.NewCatalog(c.Images, append(c.Workloads, workload.Named{Name: "agnhost", Run: agnhost.Run})...),
		dns:     sandbox.DNS{Servers: c.ClusterDNS, Domain: c.ClusterDomain, Node: readOrEmpty("/etc/resolv.conf")},
		objects: &objects{client: client, watches: map[reference]*watch{}},
		ready:   make(chan struct{}),
		pods:    map[types.UID]*pod{}, legacies: map[types.UID]*legacy{},
	}
}

// Ready is closed when the Node is Ready in the API.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Run runs the agent until ctx is cancelled. On return its Pods' containers have
// ended and their namespaces and links are gone; the Pods themselves stay in the API,
// as they do when a machine loses power. With a shim, Pods that run programs go on.
func (n *Node) Run(ctx context.Context) error {
	limits := n.findLimits()
	defer n.dropLimits()
	if err := n.openShim(ctx); err != nil {
		return fmt.Errorf("node %s: %w", n.cfg.Name, err)
	}
	defer n.leaveShim()
	if err := n.removeLeftovers(ctx); err != nil {
		return fmt.Errorf("node %s: remove what the last run left: %w", n.cfg.Name, err)
	}
	facts, err := machineFacts(n.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.cfg.Name, err)
	}
	n.facts = facts
	n.facts.limits = limits
	srv, err := server.New(server.Config{
		Host: n.cfg.Host, Address: n.cfg.NodeIP[0], Port: n.cfg.Port, Node: n.cfg.Name,
		Serving: n.cfg.Serving, ServingCertificate: n.cfg.ServingCertificate, ClientCA: n.cfg.ClientCA,
		Client: n.client, Log: n.cfg.Log,
	}, n)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.cfg.Name, err)
	}
	recorder, stopRecorder := newRecorder(ctx, n.client, n.cfg.Name)
	defer stopRecorder()
	n.events = recorder

	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return srv.Run(groupCtx) })
	group.Go(func() error { return n.live(groupCtx, group) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("node %s: %w", n.cfg.Name, err)
	}
	return nil
}

// live is the life of a node, in order: it registers, says that it is alive, waits
// for its share of the Pod network, joins it, is Ready, and runs Pods.
func (n *Node) live(ctx context.Context, group *errgroup.Group) error {
	n.leaving = ctx.Done()
	preparing := make(chan struct{}) // runs programs; registering waits for the API meanwhile
	group.Go(func() error {
		defer close(preparing)
		return n.prepareRules(ctx)
	})
	if err := n.register(ctx); err != nil {
		return err
	}
	group.Go(func() error { return n.keepLease(ctx) })
	nodes, err := n.watchNodes(ctx)
	if err != nil {
		return err
	}
	defer nodes.stop()
	podCIDRs, err := nodes.podCIDRs(ctx)
	if err != nil {
		return err
	}
	n.network, err = network.Setup(network.Config{
		Host: n.cfg.Host, Node: n.addrs[0], PodCIDRs: podCIDRs, StateDir: filepath.Join(n.cfg.StateDir, "network"), VXLAN: n.cfg.vxlan(),
		Keep: n.links(),
	})
	if err != nil {
		return fmt.Errorf("set up the Pod network: %w", err)
	}
	defer n.leaveNetwork(ctx)
	<-preparing // if that failed, ctx has ended
	following, cancel := context.WithCancel(ctx)
	var follower sync.WaitGroup
	defer follower.Wait() // it sets routes, which leaving the network removes
	defer cancel()
	follower.Go(func() { nodes.follow(following) })
	return n.watchPods(ctx)
}

// prepareRules brings the node's packet rules to where they should be at the start.
func (n *Node) prepareRules(ctx context.Context) error {
	for _, addr := range n.addrs {
		if err := network.ClearHostPorts(ctx, n.cfg.Host, addr); err != nil {
			return err
		}
	}
	for _, pods := range n.cfg.podRanges() {
		if err := network.Masquerade(ctx, n.cfg.Host, pods); err != nil {
			return err
		}
	}
	return nil
}

// leaveTime is how long the removal of rules may take when something ends.
const leaveTime = 5 * time.Second

// leaveNetwork removes what the agent made for its Pods. ctx, which has ended, is not
// to keep it from that.
func (n *Node) leaveNetwork(ctx context.Context) {
	if n.staying() > 0 {
		n.network.Leave()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	err := n.network.Teardown()
	for _, addr := range n.addrs {
		err = errors.Join(err, network.ClearHostPorts(ctx, n.cfg.Host, addr))
	}
	for _, pods := range n.cfg.podRanges() {
		err = errors.Join(err, network.Unmasquerade(ctx, n.cfg.Host, pods))
	}
	if err != nil {
		n.cfg.Log.Error("leaving the Pod network", "err", err)
	}
}

func (n *Node) podsDir() string { return filepath.Join(n.cfg.StateDir, "pods") }

func readOrEmpty(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}
