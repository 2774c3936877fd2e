package lb

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orrery.example.org/host"
	"orrery.example.org/lb/plan"
)

// tableBase + n is the routing table that leads to node n, and the priority of the rule
// that sends packets with the mark n there.
const tableBase = 1000

// setRoutes makes routing tables lead to the nodes, and those of nodes that are gone
// lead nowhere, for packets of one family.
func setRoutes(h *host.Host, family family, nodes []plan.Node, marks map[string]uint32) error {
	links, err := h.Links()
	if err != nil {
		return err
	}
	rules, err := links.RuleList(family.number)
	if err != nil {
		return fmt.Errorf("list the routing rules: %w", err)
	}
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n plan.Node) bool { return !family.has(n.Addr) })
	present, wanted := map[uint32]bool{}, map[uint32]bool{}
	for _, n := range nodes {
		wanted[marks[n.Name]] = true
	}
	var errs []error
	for i := range rules {
		switch r := &rules[i]; {
		case !ours(r):
		case wanted[r.Mark] && !present[r.Mark]:
			present[r.Mark] = true
		default:
			errs = append(errs, removeTable(links, family, r))
		}
	}
	for _, n := range nodes {
		errs = append(errs, addTable(links, family, n, marks[n.Name], present[marks[n.Name]]))
	}
	return errors.Join(errs...)
}

// removeRoutes removes all of ours, those that an earlier process left included.
func removeRoutes(h *host.Host, family family) error { return setRoutes(h, family, nil, nil) }

// ours recognizes a rule that setRoutes made.
func ours(r *netlink.Rule) bool {
	return r.Mark != 0 && r.Priority == r.Table && uint32(r.Table) == tableBase+r.Mark
}

func addTable(links *netlink.Handle, family family, n plan.Node, mark uint32, hasRule bool) error {
	table := tableBase + int(mark)
	route := &netlink.Route{Table: table, Gw: n.Addr.AsSlice()}
	if err := links.RouteReplace(route); err != nil {
		return fmt.Errorf("make routing table %d lead to %s at %s, which must be on a network of this machine: %w", table, n.Name, n.Addr, err)
	}
	if hasRule {
		return nil
	}
	rule := netlink.NewRule()
	rule.Family, rule.Mark, rule.Table, rule.Priority = family.number, mark, table, table
	if err := links.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the routing rule of %s: %w", n.Name, err)
	}
	return nil
}

func removeTable(links *netlink.Handle, family family, rule *netlink.Rule) error {
	if err := links.RuleDel(rule); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove routing rule %d: %w", rule.Priority, err)
	}
	routes, err := links.RouteListFiltered(family.number, &netlink.Route{Table: rule.Table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list routing table %d: %w", rule.Table, err)
	}
	for i := range routes {
		if err := links.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("empty routing table %d: %w", rule.Table, err)
		}
	}
	return nil
}

// becomeRouter lets the kernel pass packets on, and keeps it from telling clients on its
// own network that they could reach the node without it. In a container that cannot be
// switched off for an interface; the chain unadvised then holds such advice back.
func becomeRouter(h *host.Host, families []family) error {
	_ = h.SetSysctl("net/ipv4/conf/*/send_redirects", "0")
	for _, family := range families {
		if err := h.SetSysctl(family.router, "1"); err != nil {
			return err
		}
	}
	return nil
}
