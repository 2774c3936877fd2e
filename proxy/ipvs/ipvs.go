// Package ipvs keeps the plan of a node's Services in the kernel by IPVS, the load
// balancer of Linux, as kube-proxy's mode of that name does.
//
// Every address and port of a Service is a virtual server of the kernel, its endpoints
// are real servers, and a scheduler that has a name (rr, lc, sh, …) chooses between them
// for each connection. IPVS looks at packets for the node itself only, so the addresses
// of Services are put on an interface that leads nowhere, kube-ipvs0. What IPVS cannot
// do (masquerading, loadBalancerSourceRanges, keeping strangers from the node's own
// ports by way of those addresses) is left to iptables: a fixed number of rules that look
// into ipsets.
//
// The first half is pure. model.go turns a plan into a Model: virtual servers, entries of
// ipsets, addresses; tally.go keeps one while Services come and go; sets.go lists the
// sets, rules.go the chains around them; text.go is for people. The second half brings a
// kernel to a model: applier.go and diff.go by steps, drain.go takes leave of real
// servers, kernel.go, kernelsets.go and device.go speak netlink, machine.go and
// cleanup.go are for the beginning and the end.
//
// Upstream counterpart: pkg/proxy/ipvs of kubernetes/kubernetes.
//
// Kubernetes: upstream goes through all Services in every sync, asks the kernel about
// each, and leaves out rules whose set is empty. Here a change of a Service costs that
// Service, by netlink alone: the rules are there from the start, and a set that is empty
// matches nothing. Where two Services claim one address and port, the first by name has it;
// upstream lets them overwrite each other in turn.
package ipvs

import (
	"net/netip"
	"time"

	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/plan"
)

// Device is the interface that has the addresses of Services.
const Device = "kube-ipvs0"

// DefaultScheduler is round robin.
const DefaultScheduler = "rr"

// Schedulers are what the kernel offers, each a module ip_vs_NAME.
var Schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf"}

// Settings are what the model depends on apart from the plan.
type Settings struct {
	Family        plan.Family
	Scheduler     string // of all virtual servers
	MasqueradeAll bool   // masquerade everything that goes to a ClusterIP
	MasqueradeBit int    // the bit of the mark that asks for masquerading
}

func (s *Settings) ipv6() bool { return s.Family == plan.IPv6 }

// scheduler is the Scheduler, or the default.
func (s *Settings) scheduler() string {
	if s.Scheduler == "" {
		return DefaultScheduler
	}
	return s.Scheduler
}

// iptables are the same settings for the rules that both modes have in common. Upstream
// does not drop invalid packets in this mode and always masquerades with random ports.
func (s *Settings) iptables(local plan.Local) *iptables.Settings {
	return &iptables.Settings{
		Family: s.Family, MasqueradeAll: s.MasqueradeAll, MasqueradeBit: s.MasqueradeBit, Local: local,
		RandomFully: true, TCPLiberal: true,
	}
}

// Timeouts are how long the kernel keeps connections that are idle, have ended, or are of
// UDP. Zero leaves the kernel's own.
type Timeouts struct{ TCP, TCPFin, UDP time.Duration }

// Own are the addresses that a model needs to know.
type Own struct {
	Node     []netip.Addr // the node's, without those of Device
	NodePort []netip.Addr // those on which NodePorts answer; nil means all of them
}
