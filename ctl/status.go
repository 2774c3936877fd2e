package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"orrery.example.org/lab"
)

func newStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the lab: its process, its places, its components",
		Args:  cobra.NoArgs,
	}
	find := labFlag(cmd)
	output := cmd.Flags().StringP("output", "o", "", "json, or a text if empty")
	cmd.RunE = own(func(cmd *cobra.Command, _ []string) error {
		state, err := running(find)
		if err != nil {
			return err
		}
		status, err := state.Status()
		if err != nil {
			return err
		}
		if *output == "json" {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(status)
		}
		if *output != "" {
			return fmt.Errorf("unknown output format %q: use json, or leave it out", *output)
		}
		return printStatus(cmd.OutOrStdout(), state, status)
	})
	return cmd
}

func printStatus(out io.Writer, state lab.State, s lab.Status) error {
	fmt.Fprintf(out, "Lab %q is running: process %d, up %v, %d MB resident\n", state.Name, s.PID, time.Since(s.Started).Round(time.Second), s.ResidentBytes>>20)
	fmt.Fprintf(out, "API         %s\nKubeconfig  %s\nLog         %s\nProxy mode  %s\n\n", s.API, state.Kubeconfig(), state.LogFile(), modesText(s))
	w := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "PLACE\tADDRESS\tWHAT RUNS THERE")
	for _, p := range s.Places {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, strings.Join(p.Addresses, ","), p.Role)
	}
	if err := w.Flush(); err != nil || len(s.LoadBalancers) == 0 {
		return err
	}
	fmt.Fprintln(w, "\nLOADBALANCER\tADDRESS\tPORT\tON THIS MACHINE\tGOES TO")
	for _, b := range s.LoadBalancers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", b.Service, b.Address, b.Port, cmp.Or(b.Localhost, "-"), goesTo(b))
	}
	return w.Flush()
}

// goesTo names the nodes that take connections, and says of the others why they do not.
func goesTo(b lab.BalancerStatus) string {
	text := strings.Join(b.Nodes, ", ")
	if text == "" {
		text = "no node"
	}
	for _, node := range slices.Sorted(maps.Keys(b.Excluded)) {
		text += fmt.Sprintf("; not %s (%s)", node, b.Excluded[node])
	}
	return text
}
