package ipvs

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/plan"
)

// Text is the whole data plane for people to read, and for tests to compare: the virtual
// servers as ipvsadm saves them, the sets as ipset does, the addresses of Device, and the
// input of iptables-restore.
func (s *Settings) Text(snapshot plan.Snapshot, own Own) string {
	m := s.Model(snapshot, own)
	var b strings.Builder
	for _, v := range slices.SortedFunc(maps.Keys(m.Servers), Virtual.compare) {
		server, key := m.Servers[v], fmt.Sprintf("--%s-service %s", v.Protocol, v.Addr)
		fmt.Fprintf(&b, "--add-service %s --scheduler %s", key, server.Scheduler)
		if server.Persistence > 0 {
			fmt.Fprintf(&b, " --persistent %d", server.Persistence)
		}
		b.WriteByte('\n')
		for _, r := range server.Real {
			fmt.Fprintf(&b, "--add-server %s --real-server %s --masquerading --weight 1\n", key, r)
		}
	}
	for _, set := range Sets {
		family := " family inet"
		if s.ipv6() {
			family = " family inet6"
		}
		if set.Type == typePort {
			family = " range 0-65535"
		}
		name := KernelName(set.Name, s.Family)
		fmt.Fprintf(&b, "create %s %s%s\n", name, set.Type, family)
		var entries []string
		for e := range m.Entries {
			if e.Set == set.Name {
				entries = append(entries, e.String())
			}
		}
		slices.Sort(entries)
		for _, e := range entries {
			fmt.Fprintf(&b, "add %s %s\n", name, e)
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(m.Addresses), netip.Addr.Compare) {
		fmt.Fprintf(&b, "address add %s dev %s\n", single(a), Device)
	}
	return b.String() + iptables.Text(s.Rules(snapshot.Local, m.NoNode).Chains)
}
