package dnsdiff

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"

	"orrery.example.org/dns"
)

// The benchmark's servers run in processes of their own, so that their CPU and memory can
// be told apart: the test's binary in another role.
const (
	roleCoreDNS = "coredns"
	roleOurs    = "ours"
	roleNothing = "nothing"
)

// BenchmarkServers has dnsperf ask each server for the addresses of 1,000 Services, as fast
// as it can and then at half of that rate, for latency; and one that does nothing, to see
// what is left to be won. Run it with -benchtime 1x.
func BenchmarkServers(b *testing.B) {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		b.Skip("needs dnsperf, of the package of that name")
	}
	c := newCluster(b)
	queries := fillMany(b, c, 1000, 5)
	for _, server := range []string{roleCoreDNS, roleOurs, roleNothing} {
		b.Run(server, func(b *testing.B) {
			p := startProcess(b, server, c)
			p.load(b, queries, time.Second) // warm
			before := p.cpu(b)
			var completed, seconds float64
			for b.Loop() {
				n, s := p.load(b, queries, 5*time.Second)
				completed, seconds = completed+n, seconds+s
			}
			rate := completed / seconds
			b.ReportMetric(rate, "queries/s")
			b.ReportMetric(float64((p.cpu(b)-before).Microseconds())/completed, "CPU-µs/query")
			b.ReportMetric(p.memory(b), "MB")
			b.ReportMetric(p.latency(b, queries, rate/2, 0.99), "p99-µs@half")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkMemory reports what each server takes of a cluster of 10,000 Services with five
// endpoints each, when all have been asked for.
func BenchmarkMemory(b *testing.B) {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		b.Skip("needs dnsperf, of the package of that name")
	}
	c := newCluster(b)
	queries := fillMany(b, c, 10_000, 5)
	for _, server := range []string{roleCoreDNS, roleOurs} {
		b.Run(server, func(b *testing.B) {
			p := startProcess(b, server, c)
			for b.Loop() {
				b.ReportMetric(p.memory(b), "MB-at-first")
				p.load(b, queries, 5*time.Second)
			}
			b.ReportMetric(p.memory(b), "MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// fillMany creates Services with endpoints, and returns a file that asks for each by name.
func fillMany(b *testing.B, c *cluster, services, endpoints int) (queries string) {
	b.Helper()
	var g errgroup.Group
	g.SetLimit(16)
	var names strings.Builder
	for i := range services {
		key := fmt.Sprintf("default/service-%d", i)
		fmt.Fprintf(&names, "service-%d.default.svc.cluster.local A\n", i)
		g.Go(func() error {
			one := *c // the lists of what was created are not shared
			one.service(b, key, fmt.Sprintf("10.97.%d.%d", i/250, 1+i%250), "http/TCP/80")
			var addresses []string
			for j := range endpoints {
				addresses = append(addresses, fmt.Sprintf("10.244.%d.%d", i%250, 1+j+endpoints*(i/250)))
			}
			one.slice(b, key, "http/TCP/80", addresses...)
			return nil
		})
	}
	must(b, g.Wait())
	queries = filepath.Join(b.TempDir(), "queries")
	must(b, os.WriteFile(queries, []byte(names.String()), 0o600))
	return queries
}

// process is a server under load.
type process struct {
	*exec.Cmd
	port int
}

// startProcess starts this binary as a server, which ends with the test.
func startProcess(b *testing.B, server string, c *cluster) *process {
	b.Helper()
	port := freePort(b)
	p := &process{exec.Command("/proc/self/exe", strconv.Itoa(port), c.kubeconfig), port}
	p.Env = append(os.Environ(), role+"="+server)
	p.Stderr = os.Stderr
	stdin, err := p.StdinPipe()
	must(b, err)
	must(b, p.Start())
	b.Cleanup(func() {
		_ = stdin.Close()
		if err := p.Wait(); err != nil {
			b.Errorf("%s: %v", server, err)
		}
	})
	deadline := time.Now().Add(patience)
	for !p.answers(server) {
		if time.Now().After(deadline) {
			b.Fatalf("%s does not answer", server)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return p
}

func (p *process) answers(server string) bool {
	a := &asker{address: fmt.Sprintf("127.0.0.1:%d", p.port)}
	const name = "service-0.default.svc.cluster.local."
	if server == roleNothing {
		_, err := a.once(name)
		return err == nil
	}
	return a.knows(name)
}

// serveRole is main of a server's process. It serves until its standard input ends.
func serveRole(server string) int {
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := serveUntil(ctx, server, port, os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", server, err)
		return 1
	}
	return 0
}

func serveUntil(ctx context.Context, server string, port int, kubeconfig string) error {
	s := settings{pods: "insecure"}
	if server == roleNothing {
		return serveNothing(ctx, port)
	}
	if server == roleCoreDNS {
		caddy.Quiet, dnsserver.Quiet = true, true
		instance, err := caddy.Start(caddy.CaddyfileInput{
			Filepath: "Corefile", Contents: []byte(corefile(port, kubeconfig, s)), ServerTypeName: "dns",
		})
		if err != nil {
			return err
		}
		<-ctx.Done()
		return instance.Stop()
	}
	client, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	d, err := dns.New(ourConfig(&cluster{config: client}, port, s))
	if err != nil {
		return err
	}
	go func() { // as ctl serve dns does
		select {
		case <-d.Ready():
			debug.SetGCPercent(25)
			debug.FreeOSMemory()
		case <-ctx.Done():
		}
	}()
	return d.Run(ctx)
}

var dnsperfLine = regexp.MustCompile(`(?m)^\s*(Queries completed|Run time \(s\)):\s+([0-9.]+)`)

// load has dnsperf ask for some time, and returns how many replies came in how many seconds.
func (p *process) load(b *testing.B, queries string, d time.Duration, options ...string) (completed, seconds float64) {
	b.Helper()
	options = append([]string{"-d", queries, "-l", fmt.Sprint(d.Seconds()), "-T", "2", "-c", "16", "-q", "200"}, options...)
	for _, m := range dnsperfLine.FindAllStringSubmatch(p.dnsperf(b, options...), -1) {
		value, err := strconv.ParseFloat(m[2], 64)
		must(b, err)
		if strings.HasPrefix(m[1], "Queries") {
			completed = value
		} else {
			seconds = value
		}
	}
	if completed == 0 || seconds == 0 {
		b.Fatal("dnsperf got no reply")
	}
	return completed, seconds
}

func (p *process) dnsperf(b *testing.B, options ...string) string {
	b.Helper()
	cmd := exec.Command("dnsperf", append([]string{"-s", "127.0.0.1", "-p", strconv.Itoa(p.port)}, options...)...)
	out, err := cmd.Output()
	must(b, err)
	if strings.Contains(string(out), "SERVFAIL") || strings.Contains(string(out), "NXDOMAIN") {
		b.Fatalf("dnsperf: %s", out)
	}
	return string(out)
}

// latency is a quantile of the time, in microseconds, that queries at a rate take.
func (p *process) latency(b *testing.B, queries string, rate, quantile float64) float64 {
	b.Helper()
	var all []float64
	out := p.dnsperf(b, "-d", queries, "-l", "3", "-T", "2", "-c", "16", "-q", "200", "-v", "-Q", strconv.Itoa(int(rate)))
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) == 5 && fields[0] == ">" {
			seconds, err := strconv.ParseFloat(fields[4], 64)
			must(b, err)
			all = append(all, seconds*1e6)
		}
	}
	if len(all) == 0 {
		b.Fatal("dnsperf has shown no latencies")
	}
	slices.Sort(all)
	return all[int(quantile*float64(len(all)-1))]
}

// cpu is the time that the process has used up.
func (p *process) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	must(b, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, err := strconv.Atoi(fields[11])
	must(b, err)
	system, err := strconv.Atoi(fields[12])
	must(b, err)
	const ticks = 100 // a second, on every Linux
	return time.Duration(user+system) * time.Second / ticks
}

// memory is the process's resident memory in megabytes, without the files mapped into it:
// the binary is one for both servers, and full of what neither needs.
func (p *process) memory(b *testing.B) float64 {
	b.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.Process.Pid))
	must(b, err)
	fields := strings.Fields(string(statm))
	resident, err := strconv.Atoi(fields[1])
	must(b, err)
	shared, err := strconv.Atoi(fields[2])
	must(b, err)
	return float64((resident-shared)*syscall.Getpagesize()) / 1e6
}
