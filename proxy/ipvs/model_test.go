package ipvs

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	. "orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

var settings = Settings{Family: plan.IPv4, MasqueradeBit: 14}

// own is a node with two addresses and a loopback address for NodePorts, which has none.
var own = Own{Node: []netip.Addr{netip.MustParseAddr(NodeIP), netip.MustParseAddr("10.244.1.1")}}

// A small cluster with one Service of each sort, as a learner would list it.
func TestP42Text(t *testing.T) {
	Golden(t, "text", settings.Text(Snapshot(
		Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods("a")...),
		Planned(Service("ns2", "svc2", "10.96.0.42", LoadBalancer(30080, "172.30.100.1"), SourceRanges("172.30.0.0/24"), ExternalLocal(31000)), Port, Pods("ac")...),
		Planned(Service("ns3", "svc3", "10.96.0.43", Affinity(10800)), Port, Pods("abc")...),
		Planned(Service("ns4", "svc4", "10.96.0.44", ExternalIPs("10.99.0.1")), Port),
	), own))
	v6, svc := settings, Service("ns1", "svc1", "fd00:10:96::29", NodePort(30080), Protocol(corev1.ProtocolSCTP))
	v6.Family, v6.Scheduler, v6.MasqueradeAll = plan.IPv6, "sh", true
	Golden(t, "text-ipv6", v6.Text(Snapshot(Planned(svc, 80, Endpoint{Addr: "fd00:10:244::2", Node: Here})),
		Own{Node: []netip.Addr{netip.MustParseAddr("fd00:10:30::11")}}))
}

// What each feature of a Service adds to that of a plain ClusterIP.
func TestP53Model(t *testing.T) {
	for name, row := range map[string]struct {
		tweaks []Tweak
		want   []string // entries besides those of the ClusterIP
		served []string // virtual servers besides that of the ClusterIP, with their real servers
	}{
		"ClusterIP": {},
		"NodePort": {tweaks: []Tweak{NodePort(30080)}, want: []string{"KUBE-NODE-PORT-TCP 30080"},
			served: []string{"tcp 10.244.1.1:30080 ac", "tcp 172.30.0.11:30080 ac"}},
		"NodePort, Local": {tweaks: []Tweak{NodePort(30080), ExternalLocal(0)}, want: []string{"KUBE-NODE-PORT-LOCAL-TCP 30080", "KUBE-NODE-PORT-TCP 30080"},
			served: []string{"tcp 10.244.1.1:30080 a", "tcp 172.30.0.11:30080 a"}},
		"externalIP": {tweaks: []Tweak{ExternalIPs("10.99.0.1")}, want: []string{"KUBE-EXTERNAL-IP 10.99.0.1,tcp:80", "KUBE-IPVS-IPS 10.99.0.1"},
			served: []string{"tcp 10.99.0.1:80 ac"}},
		"externalIP that is the node's": {tweaks: []Tweak{ExternalIPs(NodeIP)}, want: []string{"KUBE-EXTERNAL-IP 172.30.0.11,tcp:80"},
			served: []string{"tcp 172.30.0.11:80 ac"}},
		"externalIP, Local": {tweaks: []Tweak{ExternalIPs("10.99.0.1"), ExternalLocal(0)},
			want: []string{"KUBE-EXTERNAL-IP-LOCAL 10.99.0.1,tcp:80", "KUBE-IPVS-IPS 10.99.0.1"}, served: []string{"tcp 10.99.0.1:80 a"}},
		"source ranges": {tweaks: []Tweak{LoadBalancer(0, "172.30.100.1"), SourceRanges("172.30.0.0/24", "10.0.0.0/8")},
			want: []string{"KUBE-IPVS-IPS 172.30.100.1", "KUBE-LOAD-BALANCER 172.30.100.1,tcp:80", "KUBE-LOAD-BALANCER-FW 172.30.100.1,tcp:80",
				"KUBE-LOAD-BALANCER-SOURCE-CIDR 172.30.100.1,tcp:80,10.0.0.0/8", "KUBE-LOAD-BALANCER-SOURCE-CIDR 172.30.100.1,tcp:80,172.30.0.0/24",
				"KUBE-LOAD-BALANCER-SOURCE-IP 172.30.100.1,tcp:80,172.30.100.1"},
			served: []string{"tcp 172.30.100.1:80 ac"}},
		"health check": {tweaks: []Tweak{LoadBalancer(0, "172.30.100.1"), ExternalLocal(31000)},
			want:   []string{"KUBE-HEALTH-CHECK-NODE-PORT 31000", "KUBE-IPVS-IPS 172.30.100.1", "KUBE-LOAD-BALANCER 172.30.100.1,tcp:80", "KUBE-LOAD-BALANCER-LOCAL 172.30.100.1,tcp:80"},
			served: []string{"tcp 172.30.100.1:80 a"}},
	} {
		s := Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41", row.tweaks...), Port, Pods("ac")...))
		m := settings.Model(s, own)
		var entries, served []string
		for e := range m.Entries {
			entries = append(entries, e.Set+" "+e.String())
		}
		for v, server := range m.Servers {
			text := v.String() + " "
			for _, r := range server.Real {
				for name, addr := range Addrs {
					if r.Addr().String() == addr {
						text += name
					}
				}
			}
			served = append(served, text)
		}
		want := append(row.want, "KUBE-CLUSTER-IP 10.96.0.41,tcp:80", "KUBE-IPVS-IPS 10.96.0.41", "KUBE-LOOP-BACK 10.244.1.2,tcp:8080,10.244.1.2")
		slices.Sort(entries)
		slices.Sort(want)
		if diff := cmp.Diff(want, entries); diff != "" {
			t.Errorf("%s: entries (-want +got):\n%s", name, diff)
		}
		wantServed := append(row.served, "tcp 10.96.0.41:80 ac")
		slices.Sort(served)
		slices.Sort(wantServed)
		if diff := cmp.Diff(wantServed, served); diff != "" {
			t.Errorf("%s: virtual servers (-want +got):\n%s", name, diff)
		}
	}
}

// After any changes the tally is what it would be from the start, and each change names
// all that it changed.
func TestMoveEqualsModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	tally, current := newTally(&settings, own), Snapshot()
	kernel := newModel()
	for round := range 400 {
		next := Snapshot()
		for name, svc := range current.Services {
			next.Services[name] = svc
		}
		svc := RandomService(r)
		if next.Services[svc.Name] = svc; r.IntN(4) == 0 {
			delete(next.Services, svc.Name)
		}
		before, after := tally.move(Changes(current, next))
		if diff := difference(part(kernel, before), before); len(diff) > 0 {
			t.Fatalf("round %d: what was there: %v", round, diff)
		}
		replace(kernel, before, after)
		current = next
		if diff := difference(kernel, settings.Model(current, own)); len(diff) > 0 {
			t.Fatalf("round %d: %v", round, diff)
		}
	}
}

// part is what a model has of another one's keys.
func part(m, of Model) Model {
	out := newModel()
	for v := range of.Servers {
		out.Servers[v] = m.Servers[v]
	}
	for e := range of.Entries {
		out.Entries[e] = m.Entries[e]
	}
	for a := range of.Addresses {
		out.Addresses[a] = m.Addresses[a]
	}
	return out
}

func replace(m, before, after Model) {
	for v := range before.Servers {
		delete(m.Servers, v)
	}
	for e := range before.Entries {
		delete(m.Entries, e)
	}
	for a := range before.Addresses {
		delete(m.Addresses, a)
	}
	for v, s := range after.Servers {
		m.Servers[v] = s
	}
	for e := range after.Entries {
		m.Entries[e] = true
	}
	for a := range after.Addresses {
		m.Addresses[a] = true
	}
}

// An entry comes back from the kernel's form as it went there.
func TestEntryMessage(t *testing.T) {
	m := settings.Model(Snapshot(
		Planned(Service("ns2", "svc2", "10.96.0.42", LoadBalancer(30080, "172.30.100.1"), SourceRanges("172.30.0.0/24"), ExternalLocal(31000)), Port, Pods("ac")...),
		Planned(Service("ns3", "svc3", "10.96.0.43", NodePort(30081), Protocol(corev1.ProtocolSCTP)), Port, Pods("a")...)), own)
	types := map[string]bool{}
	for e := range m.Entries {
		set := setsByName[e.Set]
		types[set.Type] = true
		if got := entryOf(set, *e.message()); got != e {
			t.Errorf("%s: %+v comes back as %+v", e.Set, e, got)
		}
	}
	if len(types) != 5 {
		t.Errorf("only the types %v were tried", types)
	}
}

// The kernel takes names of 31 characters, and both families share them.
func TestP53SetNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Sets {
		for _, f := range []plan.Family{plan.IPv4, plan.IPv6} {
			name := KernelName(s.Name, f)
			if len(name) > 31 || seen[name] {
				t.Errorf("%s of %s is called %s: too long, or taken", s.Name, f, name)
			}
			seen[name] = true
		}
	}
	if got := KernelName("KUBE-LOAD-BALANCER-SOURCE-CIDR", plan.IPv6); got != "KUBE-6-LOAD-BALANCER-SOURCE-CID" {
		t.Errorf("got %s", got)
	}
}
