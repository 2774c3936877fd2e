package packet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// dice make Services and flows by chance. Each round has names and addresses of its own,
// so that neither conntrack nor the lists of clients remember another round's.
type dice struct {
	*rand.Rand
	round int
}

func (d dice) one(n int) bool { return d.IntN(n) == 0 }

func pick[T any](d dice, all ...T) T { return all[d.IntN(len(all))] }

// made is a Service of a round, and where it may be reached.
type made struct {
	planned *plan.Service
	udp     bool
	targets []string // address:port
}

// service makes the i-th Service of a round.
func (d dice) service(i int) made {
	m := made{udp: d.one(3)}
	vip := fmt.Sprintf("10.96.%d.%d", d.round, i+1)
	targets := []string{vip + ":80", vip + ":81"}
	var tweaks []flowtest.Tweak
	if m.udp {
		tweaks = append(tweaks, flowtest.Protocol(corev1.ProtocolUDP))
	}
	nodePort := int32(30000 + d.round*10 + i)
	switch {
	case d.one(3): // a ClusterIP only
	case d.one(3):
		tweaks = append(tweaks, flowtest.NodePort(nodePort))
	default:
		lb := fmt.Sprintf("172.30.100.%d", d.round*6+i)
		tweaks = append(tweaks, flowtest.LoadBalancer(nodePort, lb))
		targets = append(targets, lb+":80", lb+":81")
		if d.one(2) {
			tweaks = append(tweaks, flowtest.SourceRanges(pick(d, flowtest.OutsideIP+"/32", "172.30.0.0/24", "10.244.1.0/24", "10.244.1.2/31", "0.0.0.0/0")))
		}
	}
	for _, addr := range []string{flowtest.NodeIP, bridgeIP, "127.0.0.1"} {
		targets = append(targets, fmt.Sprintf("%s:%d", addr, nodePort))
	}
	if d.one(3) {
		// Half of them contend for one address.
		ext := fmt.Sprintf("10.99.%d.%d", d.round, 1+i*d.IntN(2))
		tweaks = append(tweaks, flowtest.ExternalIPs(ext))
		targets = append(targets, ext+":80")
	}
	if d.one(2) {
		tweaks = append(tweaks, flowtest.ExternalLocal(0))
	}
	if d.one(4) {
		tweaks = append(tweaks, flowtest.InternalLocal)
	}
	if d.one(4) {
		tweaks = append(tweaks, flowtest.Affinity(600))
	}
	svc := flowtest.Service(fmt.Sprintf("r%d", d.round), fmt.Sprintf("s%d", i), vip, tweaks...)
	m.planned, m.targets = flowtest.Planned(svc, flowtest.Port, d.endpoints()...), targets
	return m
}

// endpoints are some of the Pods, in some condition.
func (d dice) endpoints() []flowtest.Endpoint {
	var some []flowtest.Endpoint
	for _, e := range flowtest.Pods("abc") {
		if d.one(3) {
			continue
		}
		e.NotReady, e.Terminating = d.one(6), d.one(5)
		some = append(some, e)
	}
	return some
}

// local is some way to tell Pods, or none.
func (d dice) local() plan.Local {
	return pick(d, plan.Local{CIDR: netip.MustParsePrefix(flowtest.PodCIDR)},
		plan.Local{Interface: "cni0"}, plan.Local{Interface: "cni+"}, plan.Local{})
}

// flows are some flows to a Service.
func (d dice) flows(m made, n int) []flowtest.Flow {
	var all []flowtest.Flow
	for len(all) < n {
		f := flowtest.Flow{From: pick(d, "a", "b", "c", "node", "outside"), To: pick(d, m.targets...), UDP: m.udp}
		if d.one(8) {
			f.UDP = !f.UDP
		}
		if netip.MustParseAddrPort(f.To).Addr().IsLoopback() {
			f.From = "node" // elsewhere that is another machine
		}
		all = append(all, f)
	}
	return all
}

// snapshot makes some Services, and flows to each of them.
func (d dice) snapshot(services, flows int) (plan.Snapshot, []flowtest.Flow) {
	var planned []*plan.Service
	var all []flowtest.Flow
	for i := range services {
		m := d.service(i)
		planned = append(planned, m.planned)
		all = append(all, d.flows(m, flows)...)
	}
	s := flowtest.Snapshot(planned...)
	s.Local = d.local()
	if d.one(4) {
		s.NodePortIPs = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr(flowtest.NodeIP)}
	}
	return s, all
}
