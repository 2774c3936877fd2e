package main

import (
	"fmt"

	"github.com/spf13/cobra"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"orrery.example.org/lab"
)

// labCommands are the verbs that kubectl does not have.
func labCommands(f cmdutil.Factory) []*cobra.Command {
	return []*cobra.Command{
		newUpCommand(), newDownCommand(), newStatusCommand(), newOnCommand(), newTraceCommand(f), newDigCommand(f),
		newImagesCommand(f), newTokenCommand(f), newProxyModeCommand(), newKubeconfigCommand(), newServeCommand(), newEtcdCommand(),
	}
}

// own wraps the body of one of our verbs, so that main prints its error as ours.
func own(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if status, ok := err.(exitStatus); ok {
			return status
		}
		if err != nil {
			return ownError{err}
		}
		return nil
	}
}

// labFlag adds --name, and returns what finds the lab it means.
func labFlag(cmd *cobra.Command) func() (lab.State, error) {
	name := cmd.Flags().String("name", "", "name of the lab (default: $ORRERY_LAB, else the one started last)")
	return func() (lab.State, error) {
		if *name != "" {
			return lab.StateOf(*name)
		}
		return lab.Current()
	}
}

// running is the lab that --name means, if it is running.
func running(find func() (lab.State, error)) (lab.State, error) {
	state, err := find()
	if err != nil {
		return state, err
	}
	if _, running := state.Running(); !running {
		return state, fmt.Errorf("lab %q is not running: start it with \"ctl up --name %[1]s\"", state.Name)
	}
	return state, nil
}

func newDownCommand() *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the lab; its data stays for the next up",
		Example: `  # Stop the lab, keep what is in etcd
  ctl down

  # Stop it and forget everything
  ctl down --purge`,
		Args: cobra.NoArgs,
	}
	find := labFlag(cmd)
	cmd.Flags().BoolVar(&purge, "purge", false, "delete the lab's directory too: certificates, etcd's data, logs")
	cmd.RunE = own(func(cmd *cobra.Command, _ []string) error {
		state, err := find()
		if err != nil {
			return err
		}
		wasRunning, err := state.Stop()
		if err != nil {
			return err
		}
		if purge {
			if err := state.Remove(); err != nil {
				return err
			}
		}
		what := map[bool]string{true: "stopped", false: "was not running"}[wasRunning]
		if purge {
			what += ", its data is deleted"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Lab %q %s.\n", state.Name, what)
		return nil
	})
	return cmd
}

func newKubeconfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the lab's kubeconfig",
		Example: `  # Let this machine's kubectl talk to the lab
  export KUBECONFIG=$(ctl kubeconfig)`,
		Args: cobra.NoArgs,
	}
	find := labFlag(cmd)
	cmd.RunE = own(func(cmd *cobra.Command, _ []string) error {
		state, err := running(find)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), state.Kubeconfig())
		return nil
	})
	return cmd
}
