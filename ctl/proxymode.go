package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orrery.example.org/lab"
	"orrery.example.org/proxy"
)

func newProxyModeCommand() *cobra.Command {
	all := strings.Join(proxy.Modes(), ", ")
	cmd := &cobra.Command{
		Use:   "proxy-mode [MODE]",
		Short: "Show or change how the service proxies program the kernel",
		Long: `Move the service proxies of a running lab to another mode (` + all + `), node by node:
the new rules are complete before the old ones go, so that no connection is lost and none
refused. Without MODE it prints the modes that the nodes are in. ctl up --proxy-mode
says what a lab starts with.`,
		Example: `  # All nodes
  ctl proxy-mode nftables

  # One of them, to compare it with its neighbours
  ctl proxy-mode iptables --node node2`,
		Args: cobra.MaximumNArgs(1),
	}
	find := labFlag(cmd)
	nodes := cmd.Flags().StringSlice("node", nil, "the nodes to change (default: all)")
	cmd.RunE = own(func(cmd *cobra.Command, args []string) error {
		state, err := running(find)
		if err != nil {
			return err
		}
		status, err := state.Status()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			fmt.Fprintln(cmd.OutOrStdout(), modesText(status))
			return nil
		}
		if len(*nodes) == 0 {
			*nodes = nodesOf(status)
		}
		return setProxyMode(cmd.OutOrStdout(), state, *nodes, args[0])
	})
	return cmd
}

// setProxyMode goes from node to node, and stops where it fails.
func setProxyMode(out io.Writer, state lab.State, nodes []string, mode string) error {
	for _, node := range nodes {
		change, err := state.SetProxyMode(node, mode)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", node, err)
		case change.Was == change.Is:
			fmt.Fprintf(out, "%s: %s already\n", node, change.Is)
		default:
			fmt.Fprintf(out, "%s: %s -> %s in %v\n", node, change.Was, change.Is, change.Took.Round(time.Millisecond))
		}
	}
	return nil
}

// modesOf are the proxy modes of the nodes, by name.
func modesOf(s lab.Status) map[string]string {
	modes := map[string]string{}
	for _, p := range s.Places {
		if p.ProxyMode != "" {
			modes[p.Name] = p.ProxyMode
		}
	}
	return modes
}

// nodesOf are the nodes of a lab, in order.
func nodesOf(s lab.Status) []string {
	var names []string
	for _, p := range s.Places {
		if p.ProxyMode != "" {
			names = append(names, p.Name)
		}
	}
	return names
}

// modesText is the mode of all nodes, or of each where they differ: "iptables (node1,
// node3), nftables (node2)".
func modesText(s lab.Status) string {
	modes, nodes := modesOf(s), map[string][]string{}
	for _, node := range nodesOf(s) {
		nodes[modes[node]] = append(nodes[modes[node]], node)
	}
	var parts []string
	for _, mode := range slices.Sorted(maps.Keys(nodes)) {
		if len(nodes) == 1 {
			return mode
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", mode, strings.Join(nodes[mode], ", ")))
	}
	return strings.Join(parts, ", ")
}
