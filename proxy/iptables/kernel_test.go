package iptables

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"orrery.example.org/host"
	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// planes are Debian's two sets of programs. Both are tested, whatever the machine's
// choice is.
func planes() []Plane {
	var all []Plane
	for _, variant := range []string{"nft", "legacy"} {
		all = append(all, Plane{
			Name: "iptables-" + variant, Program: "iptables-" + variant, Cleanup: CleanupAll,
			New: func(h *host.Host, k Knobs) Backend {
				return New(Config{Host: h, Family: k.Family, Variant: variant, MasqueradeBit: 14, Log: slog.New(slog.DiscardHandler),
					MasqueradeAll: k.MasqueradeAll, LocalhostNodePorts: !k.NoLocalhost})
			},
			Small:   func(b Backend) { b.(*Applier).limit = 25 },
			Listing: func(t testing.TB, h *host.Host) []string { return listing(t, h, variant) }, Ours: "KUBE-",
			Foreign:      []string{"iptables-" + variant + " -A INPUT -s 192.0.2.1/32 -j DROP", "iptables-" + variant + " -N MINE"},
			Ping:         Lost,
			ElsewhereToo: true,
		})
	}
	return all
}

// listing is what iptables-save prints for both families, without counters, in an order of
// its own.
func listing(t testing.TB, h *host.Host, variant string) []string {
	t.Helper()
	var rules []string
	for _, family := range []string{"ip", "ip6"} {
		table := ""
		for line := range strings.Lines(Run(t, h, family+"tables-"+variant+"-save")) {
			switch {
			case strings.HasPrefix(line, "*"):
				table = family + " " + strings.TrimSpace(line)
			case strings.HasPrefix(line, ":"), strings.HasPrefix(line, "-A"):
				rules = append(rules, table+" "+strings.TrimSpace(strings.Split(line, " [")[0]))
			}
		}
	}
	slices.Sort(rules)
	return rules
}

func TestPlanes(t *testing.T) { Suite(t, planes()...) }

func TestAsUser(t *testing.T) {
	AsUser(t, "^(TestPlanes|TestP45P48Repairs|TestTooLongForAUser)$/^(iptables-nft|iptables-legacy)?$/^(Flows|P45.*|P40.*)$")
}

func BenchmarkPlanes(b *testing.B) {
	b.Run("Full", func(b *testing.B) { BenchmarkFull(b, planes()...) })
	b.Run("Change", func(b *testing.B) { BenchmarkChange(b, planes()...) })
}

// A flushed table, an edited chain, a jump that is gone or in its place twice.
func TestP45P48Repairs(t *testing.T) {
	s := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", NodePort(30080), Affinity(60)), Port, Pods("abc")...),
		Planned(Service("ns1", "svc2", "10.96.0.42"), Port))
	chain := prefixCluster + chainHash(plan.PortName{Name: plan.Name{Namespace: "ns1", Name: "svc1"}, Port: "p80", Protocol: "TCP"}, "")
	for _, p := range planes() {
		damage := func(flush bool, args ...string) (d Damage) {
			for _, a := range args {
				d.Commands = append(d.Commands, p.Program+" "+a)
			}
			d.Flush = flush
			return d
		}
		t.Run(p.Name, func(t *testing.T) {
			Repairs(t, p, s, []Damage{
				damage(false, "-t nat -F"), damage(false, "-t nat -F KUBE-SERVICES"), damage(false, "-F", "-t nat -D KUBE-SERVICES 1"),
				damage(false, "-t nat -F "+chain), damage(false, "-t nat -D "+chain+" 2"), damage(false, "-t nat -D PREROUTING 1"),
				damage(false, "-t nat -A KUBE-SERVICES -d 1.2.3.4 -j ACCEPT"), damage(false, "-t nat -I KUBE-SERVICES -j RETURN"),
				damage(false, "-t nat -N KUBE-SVC-STALE", "-t nat -N KUBE-SEP-STALE", "-t nat -A KUBE-SVC-STALE -j KUBE-SEP-STALE"),
				damage(false, "-A KUBE-FORWARD -j DROP"), damage(false, "-I INPUT 1 -j KUBE-FIREWALL"), damage(false, "-F KUBE-SERVICES"),
				damage(true, "-t nat -F", "-t nat -X"), damage(true, "-F", "-X"), damage(true, "-t mangle -F", "-t mangle -X"),
			})
		})
	}
}

// In a user namespace the kernel refuses large transactions; smaller ones must do.
func TestTooLongForAUser(t *testing.T) {
	Namespaces(t)
	if privileged() {
		t.Skip("root may send transactions of any size; TestAsUser comes here again")
	}
	p := planes()[0]
	a := p.Start(t, NewPlace(t, "node"), Knobs{})
	applier := a.Backend.(*Applier)
	applier.limit = linesPrivileged
	s := Many(300, 2)
	a.Sync(t, s)
	if applier.limit >= linesPrivileged {
		t.Error("no transaction was too large: the test proves nothing")
	}
	a.Holds(t, s)
}

// The error says which package to install.
func TestMissingProgram(t *testing.T) {
	a := New(Config{Family: plan.IPv4, Variant: "missing"})
	err := a.Start(context.Background())
	if err == nil || !strings.Contains(err.Error(), "iptables-missing") || !strings.Contains(err.Error(), "apt install iptables") {
		t.Errorf("error %v", err)
	}
	if _, err = a.Full(context.Background(), Snapshot()); err == nil || !strings.Contains(err.Error(), "apt install iptables") {
		t.Errorf("error %v", err)
	}
}
