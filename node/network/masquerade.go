package network

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"orrery.example.org/host"
)

// masqueradeChain is the chain in the nat table that Masquerade owns.
const masqueradeChain = "CNI-MASQUERADE"

// Masquerade hides Pods behind their node's address where their packets leave the
// Pod network: nobody out there, the API server's machine included, has a route back
// to a Pod. It may be called again.
//
// Upstream counterpart: ipMasq of the bridge plugin, kindnet's or the ip-masq-agent.
func Masquerade(ctx context.Context, h *host.Host, pods netip.Prefix) error {
	family, jump := familyOf(pods.Addr()), masqueradeJump(pods)
	rules := []string{
		"*nat",
		":" + masqueradeChain + " - [0:0]", // makes it, or empties it
		fmt.Sprintf("-A %s -d %s -j RETURN", masqueradeChain, pods),
		fmt.Sprintf("-A %s -d %s -j RETURN", masqueradeChain, family.multicast),
		fmt.Sprintf("-A %s -j MASQUERADE --random-fully", masqueradeChain),
	}
	check := append([]string{"-w", "-t", "nat", "-C"}, strings.Fields(jump)...)
	if _, err := h.Command(ctx, family.iptables, check...).Output(); err != nil {
		rules = append(rules, "-A "+jump)
	}
	if err := restore(ctx, h, family, rules); err != nil {
		return fmt.Errorf("masquerade Pods that leave the Pod network: %w", err)
	}
	return nil
}

// Unmasquerade removes what Masquerade made.
func Unmasquerade(ctx context.Context, h *host.Host, pods netip.Prefix) error {
	err := restore(ctx, h, familyOf(pods.Addr()), []string{"*nat", "-D " + masqueradeJump(pods), "-F " + masqueradeChain, "-X " + masqueradeChain})
	if err != nil {
		return fmt.Errorf("remove %s: %w", masqueradeChain, err)
	}
	return nil
}

func masqueradeJump(pods netip.Prefix) string {
	return fmt.Sprintf("POSTROUTING -s %s -m comment --comment pods-leaving-the-pod-network -j %s", pods, masqueradeChain)
}

// restore applies rules all at once.
func restore(ctx context.Context, h *host.Host, family family, rules []string) error {
	cmd := h.Command(ctx, family.iptables+"-restore", "-w", "--noflush")
	cmd.Stdin = strings.NewReader(strings.Join(append(rules, "COMMIT\n"), "\n"))
	_, err := cmd.Output()
	return err
}
