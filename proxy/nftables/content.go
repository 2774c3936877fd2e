package nftables

import (
	"net/netip"
	"slices"
	"strings"

	"orrery.example.org/proxy/plan"
)

// Content is all that the kernel is to hold of a plan, for those who follow a packet
// through it without a kernel.
type Content struct {
	Text     string // input of nft: the rules, and the maps and chains that elements lead to
	Elements Elements
	owners   map[string]plan.PortName
}

// Content is what an Applier makes of a snapshot on a node with these addresses, which
// count only where the snapshot doesn't say on which NodePorts answer.
func (s *Settings) Content(snapshot plan.Snapshot, nodeIPs []netip.Addr) Content {
	settings := *s
	settings.Local = snapshot.Local
	if snapshot.NodePortIPs != nil {
		nodeIPs = snapshot.NodePortIPs
	}
	m := newModel(nodeIPs)
	for svc := range snapshot.All() {
		m.add(svc)
	}
	c := Content{Elements: m.all(), owners: map[string]plan.PortName{}}
	for key, all := range m.claims {
		c.owners[key] = all[0].port.Name
	}
	var text strings.Builder
	text.WriteString(settings.Text())
	var chains []string
	for chain := range shapes(c.Elements) {
		chains = append(chains, chain)
	}
	slices.Sort(chains)
	for _, chain := range chains {
		text.WriteString(settings.shape(chain))
	}
	c.Text = text.String()
	return c
}

// Owner is the port of the Service that has got hold of an address: the key of an
// element is, or begins with, that of the address.
func (c *Content) Owner(key string) plan.PortName { return c.owners[key] }
