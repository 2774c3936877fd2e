package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"orrery.example.org/host"
	"orrery.example.org/lab"
)

func newOnCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "on PLACE -- COMMAND [ARGS...]",
		Short: "Run a program of this machine at a place in the lab",
		Long: `Run a program of this machine in the network of a place in the lab: a node (node1),
control-plane, loadbalancer, outside (a machine that is not in the cluster), switch (the
wiring between them) or a Pod (pod/NAME or pod/NAMESPACE/NAME). KUBECONFIG names a file
whose address works there.`,
		Example: `  # The rules that the service proxy wrote on node1
  ctl on node1 -- iptables-save -t nat

  # What a Pod has for a network
  ctl on pod/client -- ip addr

  # A shell outside of the cluster
  ctl on outside -- bash`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return ownError{errors.New(`give a place and a program: ctl on node1 -- ip route`)}
			}
			return nil
		},
	}
	find := labFlag(cmd)
	cmd.RunE = own(func(_ *cobra.Command, args []string) error {
		state, err := running(find)
		if err != nil {
			return err
		}
		place, err := state.Place(args[0])
		if err != nil {
			return err
		}
		return enter(state, place, args[1:])
	})
	return cmd
}

// enter becomes the program, by way of nsenter: a process with several threads, as
// every Go program is one, cannot enter a user namespace itself.
func enter(state lab.State, place lab.Place, command []string) error {
	nsenter, err := host.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("%w: it is in Debian's package util-linux", err)
	}
	args := []string{"nsenter"}
	if place.User != "" {
		args = append(args, "--preserve-credentials", "--user="+place.User)
	}
	args = append(args, "--mount="+place.Mount, "--net="+place.Net)
	if dir, err := os.Getwd(); err == nil {
		args = append(args, "--wd="+dir)
	}
	args = append(args, "--")
	args = append(args, command...)
	if err := os.Setenv("KUBECONFIG", state.InsideKubeconfig()); err != nil {
		return err
	}
	// An ordinary user's PATH lacks iptables, and whoever asks for it here may run it.
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	return fmt.Errorf("run %s: %w", nsenter, syscall.Exec(nsenter, args, os.Environ()))
}
