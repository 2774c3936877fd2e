package ipvs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/plan"
)

func TestMain(m *testing.M) { Main(m) }

var plane = Plane{
	Name: "ipvs", Program: "iptables", Needs: needIPVS,
	New: func(h *host.Host, k Knobs) Backend { return New(config(h, k)) },
	Cleanup: func(ctx context.Context, h *host.Host) error {
		return errors.Join(iptables.CleanupAll(ctx, h), CleanupAll(ctx, h))
	},
	Small:      func(Backend) {}, // each step is a transaction of its own
	Listing:    listing,
	Ours:       "KUBE-",
	Foreign:    []string{"ipset create MINE hash:ip", "iptables -N MINE", "ip link add mine type dummy"},
	Expect:     IPVS,
	Ping:       Unreachable, // KUBE-IPVS-FILTER refuses what no port of a Service takes
	LongMemory: true,
}

func config(h *host.Host, k Knobs) Config {
	return Config{Host: h, Variant: variant(), Log: slog.New(slog.DiscardHandler),
		Settings: Settings{Family: k.Family, MasqueradeAll: k.MasqueradeAll, MasqueradeBit: 14}}
}

// variant is whose iptables have the chains. In the virtual machine a program of the nft
// variant takes four times as long as one of the other; there, tests of other packages
// have it.
func variant() string {
	if testing.Short() {
		return "legacy"
	}
	return "nft"
}

// needIPVS skips a test where the kernel has no IPVS. The virtual machine of
// scripts/test-ipvs has, and says so.
func needIPVS(t testing.TB) {
	t.Helper()
	if err := Supported(nil); err != nil {
		if os.Getenv("ORRERY_IPVS") == "required" {
			t.Fatal(err)
		}
		t.Skipf("scripts/test-ipvs runs this in a virtual machine: %v", err)
	}
}

// listing is everything in the kernel, in an order of its own.
func listing(t testing.TB, h *host.Host) []string {
	t.Helper()
	var all []string
	for _, f := range []plan.Family{plan.IPv4, plan.IPv6} {
		k, err := dial(h, f)
		if err != nil {
			t.Fatal(err)
		}
		defer k.close()
		servers, _, err := k.servers()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, difference(newModel(), Model{Servers: servers})...)
	}
	for _, command := range []string{"iptables-" + variant() + "-save", "ip6tables-" + variant() + "-save", "ipset save", "ip -o address"} {
		for line := range strings.Lines(Run(t, h, command)) {
			line, _, _ = strings.Cut(strings.TrimLeft(strings.TrimSpace(line), "0123456789"), " [") // an interface's number, a counter
			if !strings.HasPrefix(line, "#") && !strings.Contains(line, "fe80:") {
				all = append(all, line)
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestPlanes(t *testing.T) { Suite(t, plane) }

// Whatever somebody else does is seen at once, and made good.
func TestP45P48Repairs(t *testing.T) {
	s := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080), Affinity(60)), Port, Pods("abc")...),
		Planned(Service("ns1", "svc2", "10.96.0.42"), Port),
		Planned(Service("ns1", "svc3", "10.96.0.43", LoadBalancer(30081, "172.30.100.1"), SourceRanges("10.0.0.0/8")), Port, Pods("a")...))
	var all []Damage
	for _, commands := range [][]string{
		{"ipset flush KUBE-CLUSTER-IP", "ipset del KUBE-NODE-PORT-TCP 30080"}, {"ipset add KUBE-LOAD-BALANCER 192.0.2.1,tcp:80"},
		{"ip link del kube-ipvs0"}, {"ip address del 10.96.0.41/32 dev kube-ipvs0", "ip address add 10.96.0.99/32 dev kube-ipvs0"},
		{"iptables -t nat -F KUBE-SERVICES", "iptables -F KUBE-IPVS-OUT-FILTER", "iptables -t nat -D PREROUTING 1"},
		{"iptables -t nat -F", "iptables -t nat -X", "iptables -F", "iptables -X", "ipset destroy"},
	} {
		d := Damage{Flush: true}
		for _, command := range commands {
			d.Commands = append(d.Commands, strings.Replace(command, "iptables", "iptables-"+variant(), 1))
		}
		all = append(all, d)
	}
	Repairs(t, plane, s, all)
}

// The same for what only IPVS itself can be told.
func TestRepairsServers(t *testing.T) {
	plane.Have(t)
	a := plane.Start(t, NewPlace(t, "node"), Knobs{})
	s := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods("abc")...), Planned(Service("ns1", "svc2", "10.96.0.42"), Port, Pods("a")...))
	a.Sync(t, s)
	k := a.Backend.(*Applier).k
	vip, pod := virtual("10.96.0.41:80"), real0(Addrs["a"])
	for what, damage := range map[string]func() error{
		"all gone":              k.ipvs.Flush,
		"one gone":              func() error { return k.ipvs.DelService(k.service(vip, Server{})) },
		"one too many":          func() error { return k.ipvs.NewService(k.service(virtual("10.96.0.99:80"), Server{Scheduler: "rr"})) },
		"other scheduler":       func() error { return k.ipvs.UpdateService(k.service(vip, Server{Scheduler: "lc"})) },
		"persistence":           func() error { return k.ipvs.UpdateService(k.service(vip, Server{Scheduler: "rr", Persistence: 9})) },
		"real server gone":      func() error { return k.ipvs.DelDestination(k.service(vip, Server{}), destination(pod, 1)) },
		"real server's weight":  func() error { return k.ipvs.UpdateDestination(k.service(vip, Server{}), destination(pod, 7)) },
		"real server's no more": func() error { return k.ipvs.UpdateDestination(k.service(vip, Server{}), destination(pod, 0)) },
		"a real server too many": func() error {
			return k.ipvs.NewDestination(k.service(vip, Server{}), destination(real0("10.9.9.9"), 1))
		},
		"one with weight 3": func() error {
			return k.ipvs.NewDestination(k.service(vip, Server{}), destination(real0("10.9.9.9"), 3))
		},
	} {
		if err := damage(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if differences, err := a.Check(context.Background(), s); what != "one with weight 3" && (err != nil || len(differences) == 0) {
			t.Errorf("%s: not noticed, error %v", what, err)
		}
		a.Sync(t, s)
		if reals, err := k.reals(vip); err != nil || len(reals) != 3 || slices.ContainsFunc(reals, func(r real) bool { return r.weight != 1 }) {
			t.Errorf("after %s: %+v, error %v", what, reals, err)
		}
	}
	a.Holds(t, s)
}

// Virtual servers of others stay if they are excluded.
func TestExcludeCIDRs(t *testing.T) {
	plane.Have(t)
	h := NewPlace(t, "node")
	cfg := config(h, Knobs{Family: plan.IPv4})
	cfg.ExcludeCIDRs = append(cfg.ExcludeCIDRs, single(virtual("192.0.2.7:80").Addr.Addr()))
	a := New(cfg)
	defer a.Close()
	if err := a.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"192.0.2.7:80", "192.0.2.8:80"} {
		if err := a.k.ipvs.NewService(a.k.service(virtual(addr), Server{Scheduler: "rr"})); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Full(context.Background(), Many(1, 1)); err != nil {
		t.Fatal(err)
	}
	servers, _, err := a.k.servers()
	if _, there := servers[virtual("192.0.2.7:80")]; err != nil || !there || len(servers) != 2 {
		t.Errorf("%v, error %v: want the excluded one and that of the Service", servers, err)
	}
}

// sysctl reads a switch in a place.
func sysctl(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	return strings.TrimSpace(Run(t, h, "cat /proc/sys/net/ipv4/"+name))
}

// The kernel's switches are those of upstream.
func TestP53Switches(t *testing.T) {
	plane.Have(t)
	h := NewPlace(t, "node")
	for _, strict := range []bool{false, true} {
		cfg := config(h, Knobs{Family: plan.IPv4})
		cfg.StrictARP, cfg.Timeouts = strict, Timeouts{TCP: time.Hour, UDP: time.Minute}
		a := New(cfg)
		defer a.Close()
		if err := a.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"vs/conntrack": "1", "vs/expire_nodest_conn": "1", "vs/expire_quiescent_template": "1", "ip_forward": "1",
			"conf/all/arp_ignore": "0", "conf/all/arp_announce": "0"}
		if strict {
			want["conf/all/arp_ignore"], want["conf/all/arp_announce"] = "1", "2"
		}
		for name, value := range want {
			if got := sysctl(t, h, name); got != value {
				t.Errorf("strict ARP %v: %s is %s, want %s", strict, name, got, value)
			}
		}
		got, err := a.k.ipvs.GetConfig()
		if err != nil || got.TimeoutTCP != time.Hour || got.TimeoutUDP != time.Minute || got.TimeoutTCPFin == 0 {
			t.Errorf("timeouts %+v, error %v", got, err)
		}
	}
}
