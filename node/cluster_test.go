package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// cluster is two nodes and a control plane on one switch, each in a network
// namespace, and an API that is only a store.
type cluster struct {
	t       testing.TB
	ctx     context.Context
	api     kubernetes.Interface
	ca      *pki.CA
	fabric  *host.Host
	control *host.Host
	nodes   map[string]*machine

	configure func(*Config)

	versions         int          // of Pods, by the API
	reviewed, issued atomic.Int32 // tokens, by the API
}

// machine is a node's namespace and the agent in it.
type machine struct {
	name, address, podCIDR string // of IPv4
	addresses, podCIDRs    []string
	host                   *host.Host
	agent                  *Node
	stateDir               string
	stop                   func() // ends the agent and waits for it
}

const patience = 20 * time.Second // for things that happen in milliseconds; only a failing test waits that long

func startCluster(t testing.TB, names ...string) *cluster {
	t.Helper()
	return startClusterWith(t, func(*Config) {}, names...)
}

// startClusterWith starts one whose agents have a configuration of the test's.
func startClusterWith(t testing.TB, configure func(*Config), names ...string) *cluster {
	t.Helper()
	return startClusterOf(t, 1, configure, names...)
}

// startClusterOf makes one whose machines have addresses of so many families.
func startClusterOf(t testing.TB, families int, configure func(*Config), names ...string) *cluster {
	needNamespaces(t)
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ca, err := pki.NewCA("test")
	must(t, err)
	c := &cluster{t: t, ctx: ctx, api: fake.NewSimpleClientset(), ca: ca, nodes: map[string]*machine{}, configure: configure}
	c.fabric, err = host.Create("fabric", nil)
	must(t, err)
	t.Cleanup(c.fabric.Close)
	links, err := c.fabric.Links()
	must(t, err)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "switch"
	must(t, links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	bridge, err := links.LinkByName("switch")
	must(t, err)
	must(t, links.LinkSetUp(bridge))
	control := []string{"172.30.0.2/24", "fd00:10:30::2/64"}
	c.control = c.plugIn("control", control[:families]...)
	c.answer() // before anybody asks: the fake API is not made for changes under way
	for i, name := range names {
		m := &machine{
			name: name, address: fmt.Sprintf("172.30.0.%d", 11+i), podCIDR: fmt.Sprintf("10.244.%d.0/24", 1+i),
			stateDir: filepath.Join(t.TempDir(), name),
		}
		m.addresses = []string{m.address, fmt.Sprintf("fd00:10:30::%d", 11+i)}[:families]
		m.podCIDRs = []string{m.podCIDR, fmt.Sprintf("fd00:10:244:%d::/64", 1+i)}[:families]
		plugs := []string{m.address + "/24", fmt.Sprintf("fd00:10:30::%d/64", 11+i)}
		m.host = c.plugIn(name, plugs[:families]...)
		c.nodes[name] = m
		c.startAgent(m)
	}
	return c
}

// plugIn makes a namespace with eth0 on the switch.
func (c *cluster) plugIn(name string, addresses ...string) *host.Host {
	t := c.t
	t.Helper()
	h, err := host.Create(name, nil)
	must(t, err)
	t.Cleanup(h.Close)
	links, err := c.fabric.Links()
	must(t, err)
	bridge, err := links.LinkByName("switch")
	must(t, err)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.Flags = "to-"+name, bridge.Attrs().Index, net.FlagUp
	must(t, links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(h.NetNS().Fd())}))
	inside, err := h.Links()
	must(t, err)
	for _, name := range []string{"lo", "eth0"} {
		link, err := inside.LinkByName(name)
		must(t, err)
		must(t, inside.LinkSetUp(link))
		for _, address := range addresses {
			if name == "eth0" {
				addr, err := netlink.ParseAddr(address)
				must(t, err)
				addr.Flags = unix.IFA_F_NODAD
				must(t, inside.AddrAdd(link, addr))
			}
		}
	}
	return h
}

// startAgent runs the node's agent and plays the controller that assigns podCIDRs.
func (c *cluster) startAgent(m *machine) {
	t := c.t
	t.Helper()
	serving, err := c.ca.Issue(pki.Request{User: "system:node:" + m.name, IPs: []net.IP{net.ParseIP(m.address)}})
	must(t, err)
	cfg := Defaults()
	cfg.Name, cfg.NodeIP, cfg.Host, cfg.StateDir = m.name, m.addresses, m.host, m.stateDir
	if len(m.addresses) > 1 {
		cfg.ClusterCIDR = append(cfg.ClusterCIDR, "fd00:10:244::/56")
	}
	cfg.Serving, cfg.ClientCA, cfg.Client = serving, c.ca.PEM, &rest.Config{Host: "https://unused"}
	cfg.Log = slog.New(slog.NewTextHandler(&testLog{t}, nil))
	c.configure(&cfg)
	cfg, err = cfg.complete()
	must(t, err)
	m.agent = newNode(cfg, c.api)
	ctx, cancel := context.WithCancel(c.ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.agent.Run(ctx) }()
	stopped := false
	m.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("agent of %s: %v", m.name, err)
		}
	}
	t.Cleanup(m.stop)
	c.eventually("node registered", func() error {
		node, err := c.api.CoreV1().Nodes().Get(c.ctx, m.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Spec.PodCIDR, node.Spec.PodCIDRs = m.podCIDR, m.podCIDRs
		_, err = c.api.CoreV1().Nodes().Update(c.ctx, node, metav1.UpdateOptions{})
		return err
	})
	select {
	case <-m.agent.Ready():
	case err := <-ended:
		t.Fatalf("agent of %s: %v", m.name, err)
	case <-time.After(patience):
		t.Fatalf("node %s did not become ready", m.name)
	}
}

// testLog writes a component's log to the test's.
type testLog struct{ t testing.TB }

func (l *testLog) Write(p []byte) (int, error) {
	if l.t.Context().Err() == nil { // logging after a test's end panics
		l.t.Logf("%s", strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually tries until there is no error.
func (c *cluster) eventually(what string, try func() error) {
	c.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	c.t.Fatalf("%s: %v", what, err)
}

// pod makes a Pod that is already bound to a node.
func (c *cluster) pod(node, name, image string, change ...func(*corev1.PodSpec)) *corev1.Pod {
	c.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name), Generation: 1},
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
			TerminationGracePeriodSeconds: ptr.To(int64(30)),
			Containers:                    []corev1.Container{{Name: "main", Image: image}},
		},
	}
	for _, f := range change {
		f(&pod.Spec)
	}
	pod, err := c.api.CoreV1().Pods("default").Create(c.ctx, pod, metav1.CreateOptions{})
	must(c.t, err)
	return pod
}

func (c *cluster) get(name string) (*corev1.Pod, error) {
	return c.api.CoreV1().Pods("default").Get(c.ctx, name, metav1.GetOptions{})
}

// await waits until the Pod is as wanted, and returns it.
func (c *cluster) await(name, what string, wanted func(*corev1.Pod) bool) *corev1.Pod {
	c.t.Helper()
	var pod *corev1.Pod
	c.eventually(name+" "+what, func() (err error) {
		if pod, err = c.get(name); err == nil && !wanted(pod) {
			err = fmt.Errorf("it is %s: %+v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return err
	})
	return pod
}

func (c *cluster) ready(name string) *corev1.Pod {
	c.t.Helper()
	return c.await(name, "ready", func(p *corev1.Pod) bool { return condition(p, corev1.PodReady) == corev1.ConditionTrue })
}

func condition(p *corev1.Pod, t corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}

// delete does what an API server does first: it marks the Pod. The agent does the rest.
func (c *cluster) delete(name string, grace int64) {
	c.t.Helper()
	c.eventually("mark "+name, func() error {
		pod, err := c.get(name)
		if err != nil {
			return err
		}
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = ptr.To(metav1.Now()), &grace
		_, err = c.api.CoreV1().Pods("default").Update(c.ctx, pod, metav1.UpdateOptions{})
		return err
	})
}

func (c *cluster) awaitGone(name string) {
	c.t.Helper()
	c.eventually(name+" gone", func() error {
		if pod, err := c.get(name); err == nil {
			return fmt.Errorf("still there: %s", pod.Status.Phase)
		}
		return nil
	})
}

// veths lists the Pods' links of a node.
func (m *machine) veths(t *testing.T) (names []string) {
	t.Helper()
	links, err := m.host.Links()
	must(t, err)
	all, err := links.LinkList()
	must(t, err)
	for _, l := range all {
		if strings.HasPrefix(l.Attrs().Name, "veth") {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

// run runs a program in a namespace of the test.
func (c *cluster) run(h *host.Host, argv ...string) string {
	c.t.Helper()
	out, err := h.Command(c.ctx, argv[0], argv[1:]...).Output()
	if err != nil {
		c.t.Fatalf("in %s: %v", h.Name(), err)
	}
	return string(out)
}

func events(t *testing.T, api kubernetes.Interface, pod string) (reasons []string) {
	t.Helper()
	list, err := api.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
	must(t, err)
	for _, e := range list.Items {
		if e.InvolvedObject.Name == pod {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }

func now() time.Time { return time.Now() }

func readDirNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// noProcess looks for command lines that should not be there.
func noProcess(lines ...string) error {
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, p := range procs {
		data, err := os.ReadFile(p)
		if err != nil {
			continue // it ended
		}
		text := strings.ReplaceAll(strings.TrimRight(string(data), "\x00"), "\x00", " ")
		for _, line := range lines {
			if text == line {
				return fmt.Errorf("%s runs as %s", line, p)
			}
		}
	}
	return nil
}
