package performance

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"orrery.example.org/host"
)

const (
	machine   = "172.30.0.11"    // of the one node there is
	reachable = "10.200.0.1"     // the endpoint that answers
	outOf     = 5                // endpoints of a Service
	probes    = 20               // Services that lead to it from the start
	flips     = 50               // changes that are timed
	patience  = 10 * time.Minute // kube-proxy needs it for 10,000 Services
	pause     = time.Millisecond / 2
)

// BenchmarkDataPlane measures a node's proxy, in a process of its own, beside an API server
// in another, from the write to the packet:
//
//   - cold: from exec until all of the Services that are there answer;
//   - added, removed: from the write of an EndpointSlice until a connection to the ClusterIP
//     is answered, or refused;
//   - created: a thousand Services at once, from the last write until a later one is answered;
//   - rolled: a Service that grows by 500 endpoints, one a write, likewise;
//   - resident: the memory of the proxy after the start and after all of that.
//
// With KUBE_PROXY=path it runs upstream's kube-proxy instead. One of them, for example:
//
//	go test -run '^$' -bench 'DataPlane/nftables/1000$' -benchtime 1x ./test/performance
func BenchmarkDataPlane(b *testing.B) {
	for _, mode := range []string{"iptables", "nftables"} {
		for _, n := range []int{1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", mode, n), func(b *testing.B) {
				for b.Loop() {
					measureProxy(b, mode, n)
				}
			})
		}
	}
}

func measureProxy(b *testing.B, mode string, n int) {
	m := newMachine(b)
	m.load(0, n)
	probe := m.probe()

	start := time.Now()
	proxy := m.start(m.proxyCommand(mode)...)
	for i := range probes {
		m.until(m.address(fmt.Sprint("s", i*n/probes)), true)
	}
	report := func(name string, d time.Duration) { b.ReportMetric(float64(d.Microseconds())/1000, name+"-ms") }
	report("cold", time.Since(start))
	proxy.resident(b, "cold")

	var added, removed []time.Duration
	for range flips {
		added = append(added, probe.flip(true))
		time.Sleep(50 * time.Millisecond) // each change by itself
		removed = append(removed, probe.flip(false))
		time.Sleep(50 * time.Millisecond)
	}
	for name, took := range map[string][]time.Duration{"added": added, "removed": removed} {
		slices.Sort(took)
		report(name+"-p50", took[len(took)/2])
		report(name+"-p99", took[len(took)*99/100])
	}

	cpu := proxy.cpu(b)
	m.load(n, n+1000)
	report("created", probe.flip(true))
	report("created-cpu", proxy.cpu(b)-cpu)
	probe.flip(false)
	cpu = proxy.cpu(b)
	m.roll(500)
	report("rolled", probe.flip(true))
	report("rolled-cpu", proxy.cpu(b)-cpu)
	proxy.resident(b, "end")
}

// bench is a network namespace with an API server and soon a proxy.
type bench struct {
	*testing.B
	place  *host.Host
	dir    string
	client kubernetes.Interface
}

func newMachine(b *testing.B) *bench {
	b.Helper()
	place, err := host.Create("machine", nil)
	if err != nil {
		b.Skip("network namespaces are needed: ", err)
	}
	b.Cleanup(place.Close)
	m := &bench{B: b, place: place, dir: b.TempDir()}
	m.run("sh", "-ec", `ip link set lo up
		ip link add eth0 type veth peer name cable
		ip link set cable up
		ip link set eth0 up
		ip addr add `+machine+`/24 dev eth0
		ip addr add `+reachable+`/32 dev lo
		ip route add default via 172.30.0.1
		sysctl -qw net.ipv4.icmp_ratelimit=0`) // refusals are counted upon
	b.Setenv("XDG_STATE_HOME", m.dir)
	certificates := filepath.Join(m.dir, "pki")
	m.start(ctl(b).Path, "serve", "apiserver", "--bind-address", machine+":6443", "--nodes", "node1="+machine,
		"--pki-dir", certificates, "--etcd-data-dir", filepath.Join(m.dir, "etcd"))
	await(b, filepath.Join(certificates, "proxy.kubeconfig"))
	await(b, filepath.Join(certificates, "admin.kubeconfig"))
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(certificates, "admin.kubeconfig"))
	if err != nil {
		b.Fatal(err)
	}
	config.QPS, config.Dial = -1, place.Dial
	m.client = kubernetes.NewForConfigOrDie(config)
	m.eventually(func() error {
		_, err := m.client.CoreV1().Nodes().Create(b.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: machine}}}}, metav1.CreateOptions{})
		return err
	})
	listener, err := place.Listen(b.Context(), "tcp", reachable+":8080")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	return m
}

// proxyCommand is what is measured.
func (m *bench) proxyCommand(mode string) []string {
	kubeconfig := filepath.Join(m.dir, "pki", "proxy.kubeconfig")
	if upstream := os.Getenv("KUBE_PROXY"); upstream != "" {
		return []string{upstream, "--kubeconfig", kubeconfig, "--hostname-override", "node1", "--proxy-mode", mode, "--cluster-cidr", "10.244.0.0/16",
			"--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0"}
	}
	return []string{ctl(m.B).Path, "serve", "proxy", "--kubeconfig", kubeconfig, "--node-name", "node1", "--mode", mode}
}

// run runs a program to its end.
func (m *bench) run(name string, args ...string) {
	m.Helper()
	cmd := m.place.Command(m.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		m.Fatalf("%s: %v: %s", name, err, &stderr)
	}
}

// start runs a program until the benchmark ends.
func (m *bench) start(command ...string) process {
	m.Helper()
	cmd := m.place.Command(context.Background(), command[0], command[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		err := cmd.Wait()
		if m.Failed() {
			m.Logf("%s: %v: %s", strings.Join(command, " "), err, stderr.Bytes()[max(0, stderr.Len()-2000):])
		}
	})
	return process(cmd.Process.Pid)
}

func (m *bench) eventually(f func() error) {
	m.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(pause) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.Fatal(err)
		}
	}
}

// load makes Services from one number to another, each with its EndpointSlice.
func (m *bench) load(from, to int) {
	m.Helper()
	writers, ctx := errgroup.WithContext(m.Context())
	writers.SetLimit(16)
	for i := from; i < to; i++ {
		writers.Go(func() error {
			var endpoints []string
			for k := range outOf {
				n := i*outOf + k
				endpoints = append(endpoints, fmt.Sprintf("10.%d.%d.%d", 128+n/62500, n/250%250, n%250+1))
			}
			if from == 0 && i%(to/probes) == 0 {
				endpoints = []string{reachable}
			}
			return m.create(ctx, fmt.Sprint("s", i), endpoints)
		})
	}
	if err := writers.Wait(); err != nil {
		m.Fatal(err)
	}
}

func (m *bench) create(ctx context.Context, name string, endpoints []string) error {
	if _, err := m.client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := m.client.DiscoveryV1().EndpointSlices("default").Create(ctx, slice(name, name, endpoints), metav1.CreateOptions{})
	return err
}

func slice(name, service string, endpoints []string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, address := range endpoints {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	return s
}

// roll makes a Service grow, in slices of at most a hundred as the controller writes them.
func (m *bench) roll(endpoints int) {
	m.Helper()
	if err := m.create(m.Context(), "rolled", nil); err != nil {
		m.Fatal(err)
	}
	api := m.client.DiscoveryV1().EndpointSlices("default")
	var s *discoveryv1.EndpointSlice
	for i := range endpoints {
		var err error
		endpoint := discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.127.%d.%d", i/250, i%250+1)}}
		if i%100 == 0 {
			s = slice(fmt.Sprint("rolled-", i), "rolled", endpoint.Addresses)
			s, err = api.Create(m.Context(), s, metav1.CreateOptions{})
		} else {
			s.Endpoints = append(s.Endpoints, endpoint)
			s, err = api.Update(m.Context(), s, metav1.UpdateOptions{})
		}
		if err != nil {
			m.Fatal(err)
		}
	}
}

// address is where a Service answers.
func (m *bench) address(service string) string {
	m.Helper()
	svc, err := m.client.CoreV1().Services("default").Get(m.Context(), service, metav1.GetOptions{})
	if err != nil {
		m.Fatal(err)
	}
	return net.JoinHostPort(svc.Spec.ClusterIP, "80")
}

// until waits until an address answers, or refuses.
func (m *bench) until(address string, want bool) time.Duration {
	m.Helper()
	start := time.Now()
	m.eventually(func() error {
		ctx, cancel := context.WithTimeout(m.Context(), 50*time.Millisecond)
		defer cancel()
		conn, err := m.place.Dial(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != want {
			return fmt.Errorf("connection to %s: %v", address, err)
		}
		return nil
	})
	return time.Since(start)
}

// prober is a Service whose endpoint comes and goes.
type prober struct {
	*bench
	slice   *discoveryv1.EndpointSlice
	address string
}

func (m *bench) probe() *prober {
	m.Helper()
	if err := m.create(m.Context(), "probe", nil); err != nil {
		m.Fatal(err)
	}
	s, err := m.client.DiscoveryV1().EndpointSlices("default").Get(m.Context(), "probe", metav1.GetOptions{})
	if err != nil {
		m.Fatal(err)
	}
	return &prober{m, s, m.address("probe")}
}

// flip adds or removes the endpoint and waits until packets follow.
func (p *prober) flip(on bool) time.Duration {
	p.Helper()
	p.slice.Endpoints = nil
	if on {
		p.slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{reachable}}}
	}
	var err error
	if p.slice, err = p.client.DiscoveryV1().EndpointSlices("default").Update(p.Context(), p.slice, metav1.UpdateOptions{}); err != nil {
		p.Fatal(err)
	}
	return p.until(p.address, on)
}

// process is a running program.
type process int

// cpu is what it and the programs it ran have used.
func (p process) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		b.Fatal(err)
	}
	var ticks int
	for _, field := range strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))[12:16] { // utime, stime, cutime, cstime
		n, _ := strconv.Atoi(field)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// resident is its memory in MB, and what of it is not the pages of a file such as the binary.
func (p process) resident(b *testing.B, at string) {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f", &kB); n == 1 {
			b.ReportMetric(kB/1024, "MB-"+at)
		}
		if n, _ := fmt.Sscanf(line, "RssAnon: %f", &kB); n == 1 {
			b.ReportMetric(kB/1024, "MB-anonymous-"+at)
		}
	}
}
