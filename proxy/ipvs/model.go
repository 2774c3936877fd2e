package ipvs

import (
	"net/netip"
	"slices"
	"strings"

	"orrery.example.org/proxy/plan"
)

// Model is what a kernel holds, or is to hold.
type Model struct {
	Servers   map[Virtual]Server
	Entries   map[Entry]bool
	Addresses map[netip.Addr]bool // of Device
	// NoNode are virtual servers that processes of the node itself must not use.
	NoNode map[Virtual]bool
}

func newModel() Model {
	return Model{map[Virtual]Server{}, map[Entry]bool{}, map[netip.Addr]bool{}, map[Virtual]bool{}}
}

// Virtual is what identifies a virtual server.
type Virtual struct {
	Protocol string // tcp, udp, sctp
	Addr     netip.AddrPort
}

// String is "tcp 10.96.0.41:80".
func (v Virtual) String() string { return v.Protocol + " " + v.Addr.String() }

// Server is a virtual server: how it chooses, and between whom.
type Server struct {
	Scheduler string
	// Persistence is for how many seconds a client stays with its real server; 0: not at all.
	Persistence uint32
	// Real are the real servers, in the order of the plan. All weigh the same.
	Real []netip.AddrPort
	Port plan.PortName // whose virtual server it is; "" when it was read from a kernel
}

// same tells whether two servers differ in their real servers at most.
func (s Server) same(t Server) bool {
	return s.Scheduler == t.Scheduler && s.Persistence == t.Persistence
}

// equal tells whether two servers are alike, whatever the order of their real servers.
func (s Server) equal(t Server) bool {
	a, b := slices.Clone(s.Real), slices.Clone(t.Real)
	slices.SortFunc(a, netip.AddrPort.Compare)
	slices.SortFunc(b, netip.AddrPort.Compare)
	return s.same(t) && slices.Equal(a, b)
}

// Model is the model of a whole snapshot on a node with these addresses.
func (s *Settings) Model(snapshot plan.Snapshot, own Own) Model {
	t := newTally(s, own)
	for _, svc := range snapshot.Services {
		t.add(svc)
	}
	return t.all()
}

// portModel is what one port of a Service asks for.
func (s *Settings) portModel(p *plan.Port, own Own) Model {
	w := portWriter{Settings: s, Port: p, own: own, out: newModel(), protocol: strings.ToLower(string(p.Name.Protocol))}
	w.loopBack()
	w.clusterIP()
	w.externalIPs()
	w.balancers()
	w.nodePorts()
	if p.HealthCheckNodePort != 0 {
		w.enter(Entry{Set: setHealthCheck, Port: p.HealthCheckNodePort})
	}
	return w.out
}

// portWriter makes the model of one port.
type portWriter struct {
	*Settings
	*plan.Port
	own      Own
	out      Model
	protocol string
}

func (w *portWriter) enter(e Entry) { w.out.Entries[e] = true }

func (w *portWriter) enterAddr(set string, addr netip.Addr) {
	w.enter(Entry{Set: set, Addr: addr, Protocol: w.protocol, Port: w.Port.Port})
}

// serve makes a virtual server. Where nothing here serves a policy Local, all endpoints
// do: a Pod of this node may reach them, while answers to others get lost (P14, P20).
func (w *portWriter) serve(addr netip.Addr, port uint16, local bool) {
	endpoints := w.ClusterEndpoints()
	if here := w.LocalEndpoints(); local && len(here) > 0 {
		endpoints = here
	}
	w.out.Servers[Virtual{w.protocol, netip.AddrPortFrom(addr, port)}] = Server{
		Scheduler: w.scheduler(), Persistence: uint32(w.AffinitySeconds), Real: endpoints, Port: w.Name,
	}
}

// bind puts an address on Device, unless it is one of the node's own.
func (w *portWriter) bind(addr netip.Addr) {
	if slices.Contains(w.own.Node, addr) {
		return
	}
	w.out.Addresses[addr] = true
	w.enter(Entry{Set: setAddresses, Addr: addr})
}

// loopBack lets this node's endpoints reach themselves: they must see another source (P22).
func (w *portWriter) loopBack() {
	for _, e := range w.Endpoints {
		if e.OnNode {
			w.enter(Entry{setLoopBack, e.Addr.Addr(), w.protocol, e.Addr.Port(), single(e.Addr.Addr())})
		}
	}
}

func (w *portWriter) clusterIP() {
	w.enterAddr(setClusterIP, w.ClusterIP)
	w.serve(w.ClusterIP, w.Port.Port, w.InternalLocal)
	w.out.Addresses[w.ClusterIP] = true
	w.enter(Entry{Set: setAddresses, Addr: w.ClusterIP})
}

func (w *portWriter) externalIPs() {
	set := setExternalIP
	if w.ExternalLocal {
		set = setExternalIPLocal
	}
	for _, addr := range w.ExternalIPs {
		w.enterAddr(set, addr)
		w.serve(addr, w.Port.Port, w.ExternalLocal)
		w.bind(addr)
	}
}

func (w *portWriter) balancers() {
	for _, addr := range w.LoadBalancerIPs {
		w.enterAddr(setBalancer, addr)
		if w.ExternalLocal {
			w.enterAddr(setBalancerLocal, addr)
		}
		if len(w.SourceRanges) > 0 {
			w.sourceRanges(addr)
		}
		w.serve(addr, w.Port.Port, w.ExternalLocal)
		w.bind(addr)
	}
}

// sourceRanges limits who may use a load balancer's address (P15). The node itself has
// that address too, and takes it for its source.
func (w *portWriter) sourceRanges(addr netip.Addr) {
	w.enterAddr(setBalancerFirewall, addr)
	for _, r := range w.SourceRanges {
		w.enter(Entry{setBalancerCIDR, addr, w.protocol, w.Port.Port, r})
	}
	if w.NodeInSourceRanges {
		w.enter(Entry{setBalancerSource, addr, w.protocol, w.Port.Port, single(addr)})
	} else {
		w.out.NoNode[Virtual{w.protocol, netip.AddrPortFrom(addr, w.Port.Port)}] = true
	}
}

func (w *portWriter) nodePorts() {
	if w.NodePort == 0 {
		return
	}
	sets := []string{setNodePort}
	if w.ExternalLocal {
		sets = append(sets, setNodePortLocal)
	}
	addrs := w.nodePortAddrs()
	for _, set := range sets {
		if w.protocol != "sctp" {
			w.enter(Entry{Set: set + strings.ToUpper(w.protocol), Port: w.NodePort})
			continue
		}
		for _, addr := range addrs {
			w.enter(Entry{Set: set + "SCTP-HASH", Addr: addr, Protocol: w.protocol, Port: w.NodePort})
		}
	}
	for _, addr := range addrs {
		w.serve(addr, w.NodePort, w.ExternalLocal)
	}
}

// nodePortAddrs are where NodePorts answer: never on a loopback address, to which IPVS
// has no answer (P31, P32).
func (w *portWriter) nodePortAddrs() []netip.Addr {
	addrs := w.own.NodePort
	if addrs == nil {
		addrs = w.own.Node
	}
	return slices.DeleteFunc(slices.Clone(addrs), netip.Addr.IsLoopback)
}
