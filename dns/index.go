package dns

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// key names an object of a kind.
type key struct{ namespace, name string }

// service is what an answer needs of a Service. Immutable.
type service struct {
	key
	external string       // what an ExternalName Service stands for
	headless bool         // spec.clusterIP is None
	ips      []netip.Addr // spec.clusterIPs
	ports    []port
}

// slice is what an answer needs of an EndpointSlice: its ready endpoints. Immutable.
type slice struct {
	service   key
	ports     []port
	endpoints []endpoint
}

type endpoint struct {
	addr     netip.Addr
	hostname string // of a Pod with spec.hostname and spec.subdomain
}

type port struct {
	name, protocol string // lower-cased
	number         int32
}

// noPorts stands for an object that declares none: its addresses have names all the
// same, but there is nothing to put into an SRV record.
var noPorts = []port{{number: -1}}

func (p *port) matches(n *name) bool {
	return (n.port == "" || n.port == p.name) && (n.protocol == "" || n.protocol == p.protocol)
}

// view is everything answers are made from, arranged the way they look it up.
type view struct {
	namespaces  map[string]bool
	services    map[key]*service
	slices      map[key][]*slice // by the Service they belong to
	serviceIPs  map[netip.Addr][]*service
	endpointIPs map[netip.Addr][]*slice
	podIPs      map[netip.Addr][]key // filled in verified mode only
	serial      uint32               // of the zone: when something last changed, in Unix seconds
}

func newView() *view {
	return &view{
		namespaces:  map[string]bool{},
		services:    map[key]*service{},
		slices:      map[key][]*slice{},
		serviceIPs:  map[netip.Addr][]*service{},
		endpointIPs: map[netip.Addr][]*slice{},
		podIPs:      map[netip.Addr][]key{},
	}
}

// The set functions put an object in the place of its predecessor; either may be nil,
// for an object that is new or gone.

func (v *view) setNamespace(k key, _, now *struct{}) {
	if now == nil {
		delete(v.namespaces, k.name)
		return
	}
	v.namespaces[k.name] = true
}

func (v *view) setService(k key, old, now *service) {
	if old != nil {
		delete(v.services, k)
		for _, ip := range old.ips {
			remove(v.serviceIPs, ip, old)
		}
	}
	if now != nil {
		v.services[k] = now
		for _, ip := range now.ips {
			v.serviceIPs[ip] = append(v.serviceIPs[ip], now)
		}
	}
}

func (v *view) setSlice(_ key, old, now *slice) {
	if old != nil {
		remove(v.slices, old.service, old)
		for _, ep := range old.endpoints {
			remove(v.endpointIPs, ep.addr, old)
		}
	}
	if now != nil {
		v.slices[now.service] = append(v.slices[now.service], now)
		for _, ep := range now.endpoints {
			if !slices.Contains(v.endpointIPs[ep.addr], now) {
				v.endpointIPs[ep.addr] = append(v.endpointIPs[ep.addr], now)
			}
		}
	}
}

func (v *view) setPod(k key, old, now *[]netip.Addr) {
	if old != nil {
		for _, ip := range *old {
			remove(v.podIPs, ip, k)
		}
	}
	if now != nil {
		for _, ip := range *now {
			v.podIPs[ip] = append(v.podIPs[ip], k)
		}
	}
}

// remove takes one value out of the list under a key, and the key with the last one.
func remove[K, V comparable](m map[K][]V, k K, value V) {
	rest := slices.DeleteFunc(m[k], func(v V) bool { return v == value })
	if len(rest) == 0 {
		delete(m, k)
		return
	}
	m[k] = rest
}

// index guards the view: the watches change it, the answers read it.
type index struct {
	mu         sync.RWMutex
	view       *view
	generation atomic.Uint64 // of the view, counts its changes
}

// read calls f with the view, which nothing changes meanwhile.
func (i *index) read(f func(*view)) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	f(i.view)
}

// change lets f alter the view.
func (i *index) change(f func(*view)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f(i.view)
	i.view.serial = uint32(time.Now().Unix())
	i.generation.Add(1)
}
