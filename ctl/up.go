package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"orrery.example.org/lab"
)

func newUpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a lab: a whole cluster in one process",
		Long: `Start a lab: an API server on embedded etcd, controllers, nodes with real network
namespaces, a service proxy on each node and cluster DNS, in one process.

It returns when every node is Ready, cluster DNS answers and the kubernetes Service
is reachable. It needs neither Docker nor root.

Fake nodes are Ready, and their Pods Running, in the API only: no packet reaches those
Pods, and they have neither logs nor anything to exec into. The scheduler treats them as it
does all nodes; what must be real asks for it (node affinity: type NotIn [fake]), or taint
them: ctl taint nodes -l type=fake fake=true:NoSchedule`,
		Example: `  # Three nodes
  ctl up

  # A hundred nodes more that are only simulated: Pods are Running there, in the API
  ctl up --fake-nodes 100

  # Another lab beside it, with its API on a port of its own choice
  ctl up --name two --nodes 1`,
		Args: cobra.NoArgs,
	}
	config := bind(cmd, lab.Defaults())
	labName := cmd.Flags().String("name", "", "name of the lab (default: $ORRERY_LAB, else \""+lab.DefaultName+"\")")
	foreground := cmd.Flags().Bool("foreground", false, "stay, and take the lab down with ctrl-C")
	cmd.RunE = own(func(cmd *cobra.Command, _ []string) error {
		c := lab.Defaults()
		if err := config.load(&c); err != nil {
			return err
		}
		c.ExplicitPort = cmd.Flags().Changed("api-port")
		var err error
		if c.State, err = stateForUp(*labName); err != nil {
			return err
		}
		return up(cmd.Context(), cmd.OutOrStdout(), c, *foreground)
	})
	return cmd
}

// stateForUp is the lab to start. The lab started last plays no part here: `up`
// without a name always means the same one.
func stateForUp(name string) (lab.State, error) {
	if name == "" {
		name = os.Getenv("ORRERY_LAB")
	}
	if name == "" {
		name = lab.DefaultName
	}
	return lab.StateOf(name)
}

func up(ctx context.Context, out io.Writer, c lab.Config, foreground bool) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	start := time.Now()
	fmt.Fprintf(out, "Starting lab %q with %d nodes\n", c.State.Name, c.Nodes)
	options := lab.SpawnOptions{Progress: func(s lab.Step) { printStep(out, s) }, Tied: foreground}
	process, err := spawn(ctx, c, options)
	if err != nil {
		return err
	}
	printReady(out, process, time.Since(start))
	if !foreground {
		return process.Release()
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	select {
	case err := <-ended:
		return fmt.Errorf("the lab ended by itself (%v); %s says why", err, c.State.LogFile())
	case <-ctx.Done():
	}
	fmt.Fprintln(out, "\nStopping")
	if _, err := c.State.Stop(); err != nil {
		return err
	}
	<-ended
	return nil
}

// spawn is lab.Spawn that can be interrupted: ctrl-C takes a half started lab down.
func spawn(ctx context.Context, c lab.Config, o lab.SpawnOptions) (*lab.Process, error) {
	interrupted := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_, _ = c.State.Stop()
	})
	process, err := lab.Spawn(c, o)
	if !undo() {
		<-interrupted
		return nil, errors.New("interrupted")
	}
	return process, err
}

func printStep(out io.Writer, s lab.Step) {
	if s.Ready {
		return
	}
	fmt.Fprintf(out, "  ✓ %-44s %5d ms", s.Name, s.Elapsed.Milliseconds())
	if s.Detail != "" {
		fmt.Fprintf(out, "   %s", s.Detail)
	}
	fmt.Fprintln(out)
}

func printReady(out io.Writer, p *lab.Process, took time.Duration) {
	fmt.Fprintf(out, `Ready after %d ms. The API is at %s

  ctl get nodes -o wide
  ctl create deployment web --image=nginx --replicas=3
  ctl expose deployment web --port=80
  ctl run client --image=busybox
  ctl wait --for=condition=Ready pod/client
  ctl exec client -- curl -s http://web
  export KUBECONFIG=$(ctl kubeconfig)            # for this machine's own kubectl
  ctl down
`, took.Milliseconds(), p.Ready.Detail)
}
