package store

import (
	"slices"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// claimPrefix is where claimed names are kept, each with the path of the object that
// holds it. A name is taken and given back only in the transaction that writes or
// deletes that object, so a crash can neither lose one nor hand one out twice.
//
// Kubernetes: ClusterIPs and NodePorts are bitmaps in an object of their own, written
// beside the Service's and repaired by a loop; from 1.33 on addresses are IPAddress
// objects, still written apart from the Service.
const claimPrefix = "claims/"

func (s *Store) claimPath(name string) string { return s.prefix + claimPrefix + name }

// claims is who holds what, as the watch tells it.
type claims struct {
	mu      sync.RWMutex
	holders map[string]string              // name -> path of the object
	held    map[string]map[string]struct{} // path -> names
}

// set notes that a name is held; by nobody with "".
func (c *claims) set(name, holder string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, ok := c.holders[name]; ok {
		delete(c.held[before], name)
		if len(c.held[before]) == 0 {
			delete(c.held, before)
		}
		delete(c.holders, name)
	}
	if holder == "" {
		return
	}
	if c.holders == nil {
		c.holders, c.held = map[string]string{}, map[string]map[string]struct{}{}
	}
	if c.held[holder] == nil {
		c.held[holder] = map[string]struct{}{}
	}
	c.holders[name], c.held[holder][name] = holder, struct{}{}
}

// become takes over what was loaded.
func (c *claims) become(loaded *claims) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holders, c.held = loaded.holders, loaded.held
}

func (c *claims) of(holder string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := make([]string, 0, len(c.held[holder]))
	for name := range c.held[holder] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Claims returns, as the cache has it, the names below a prefix that are taken. Who
// looks for a free one saves himself attempts; Write decides.
func (s *Store) Claims(prefix string) map[string]bool {
	s.claims.mu.RLock()
	defer s.claims.mu.RUnlock()
	taken := map[string]bool{}
	for name := range s.claims.holders {
		if strings.HasPrefix(name, prefix) {
			taken[name] = true
		}
	}
	return taken
}

// free is the condition that nobody holds a name.
func (s *Store) free(name string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(s.claimPath(name)), "=", 0)
}

// release gives a name back if the object holds it.
func (s *Store) release(name, holder string) clientv3.Op {
	path := s.claimPath(name)
	return clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Value(path), "=", holder)},
		[]clientv3.Op{clientv3.OpDelete(path)}, nil)
}
