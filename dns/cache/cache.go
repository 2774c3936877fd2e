// Package cache keeps the replies of upstream resolvers for as long as they may be kept:
// the part of CoreDNS's cache plugin. In flow a query and the reply to it, out flows the
// same reply, older.
//
// Names of the cluster never come here. They are answered out of the index, which knows
// at once of a change; a cache knows when its time is up.
//
// Left out: prefetching, serving stale replies, keeping failures.
package cache

import (
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Limits bound what is kept. Zero turns that sort of reply off.
type Limits struct {
	Positive time.Duration // longest lifetime of records
	Negative time.Duration // longest lifetime of "there is none"
	Bytes    int           // of all packed messages
}

// overhead is what an entry takes beside its message: the key's name, the map's slot.
const overhead = 200

// noSOA is how long a denial is kept that does not say how long: CoreDNS's minimum.
const noSOA = 5 * time.Second

// Cache keeps replies. Any number of goroutines may use it.
type Cache struct {
	metrics *Metrics

	mu      sync.Mutex
	limits  Limits
	entries map[key]entry
	size    int
}

// key is what makes two queries ask for the same. The checking-disabled and DNSSEC bits
// change what an upstream says.
type key struct {
	name    string // lower-cased
	qtype   uint16
	do, cd  bool
	qclass  uint16
	recurse bool
}

// entry is a reply as it came, packed: so its size is known, and whoever gets it gets a
// copy of his own.
type entry struct {
	wire     []byte
	denial   bool
	stored   time.Time
	lifetime time.Duration
}

func (e *entry) size() int { return len(e.wire) + overhead }

// New makes an empty cache.
func New(limits Limits, metrics *Metrics) *Cache {
	return &Cache{metrics: metrics, limits: limits, entries: map[key]entry{}}
}

// Reset forgets everything: other upstreams may know otherwise.
func (c *Cache) Reset(limits Limits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits, c.size = limits, 0
	clear(c.entries)
	c.metrics.empty()
}

// Get finds the reply to a query, with lifetimes that have gone down since. It is nil
// where there is none.
func (c *Cache) Get(query *dns.Msg) *dns.Msg {
	k := keyOf(query)
	c.mu.Lock()
	e, ok := c.entries[k]
	left := e.lifetime - time.Since(e.stored)
	if ok && left < time.Second { // a lifetime of 0 s may not be kept by anyone
		c.drop(k)
		ok = false
	}
	c.mu.Unlock()
	c.metrics.asked(ok, e.denial)
	if !ok {
		return nil
	}
	reply := new(dns.Msg)
	if reply.Unpack(e.wire) != nil {
		return nil
	}
	setLifetime(reply, left)
	return reply
}

// Put keeps the reply to a query if it may be kept, and makes the lifetimes in it those
// of the entry: whoever is answered now must not keep it for longer than we do.
func (c *Cache) Put(query, reply *dns.Msg) {
	e := entry{stored: time.Now(), denial: isDenial(reply)}
	e.lifetime = c.lifetime(reply)
	if e.lifetime < time.Second {
		return
	}
	setLifetime(reply, e.lifetime)
	var err error
	if e.wire, err = reply.Pack(); err != nil {
		return
	}
	k := keyOf(query)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.size() > c.limits.Bytes/8 {
		return // one must not push out all others
	}
	c.drop(k)
	for other, victim := range c.entries { // in random order
		if c.size+e.size() <= c.limits.Bytes {
			break
		}
		c.metrics.evicted(victim.denial)
		c.drop(other)
	}
	c.entries[k] = e
	c.size += e.size()
	c.metrics.added(e.denial, 1)
}

// drop forgets one entry, if there is one.
func (c *Cache) drop(k key) {
	e, ok := c.entries[k]
	if !ok {
		return
	}
	c.size -= e.size()
	delete(c.entries, k)
	c.metrics.added(e.denial, -1)
}

// lifetime is how long a reply may be kept, 0 for not at all.
func (c *Cache) lifetime(reply *dns.Msg) time.Duration {
	c.mu.Lock()
	limits := c.limits
	c.mu.Unlock()
	var lifetime time.Duration
	switch {
	case reply.Truncated:
		return 0
	case isDenial(reply):
		lifetime = min(denialLifetime(reply), limits.Negative)
	case reply.Rcode == dns.RcodeSuccess:
		lifetime = limits.Positive
	default:
		return 0 // a failure may pass
	}
	for _, rr := range records(reply) {
		lifetime = min(lifetime, seconds(rr.Header().Ttl))
	}
	return lifetime
}

// isDenial reports whether a reply says that there is no such name, or no such record.
func isDenial(reply *dns.Msg) bool {
	return reply.Rcode == dns.RcodeNameError || reply.Rcode == dns.RcodeSuccess && len(reply.Answer) == 0
}

// denialLifetime is the zone's word on it (RFC 2308, section 5).
func denialLifetime(reply *dns.Msg) time.Duration {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return seconds(min(soa.Hdr.Ttl, soa.Minttl))
		}
	}
	return noSOA
}

// setLifetime gives every record the time that is left.
func setLifetime(reply *dns.Msg, left time.Duration) {
	for _, rr := range records(reply) {
		rr.Header().Ttl = uint32(left / time.Second)
	}
}

// records are those of all sections that have a lifetime: OPT keeps flags in its place.
func records(m *dns.Msg) (all []dns.RR) {
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeOPT {
				all = append(all, rr)
			}
		}
	}
	return all
}

func seconds(ttl uint32) time.Duration { return time.Duration(ttl) * time.Second }

func keyOf(query *dns.Msg) key {
	q := query.Question[0]
	k := key{name: strings.ToLower(q.Name), qtype: q.Qtype, qclass: q.Qclass, cd: query.CheckingDisabled, recurse: query.RecursionDesired}
	if opt := query.IsEdns0(); opt != nil {
		k.do = opt.Do()
	}
	return k
}
