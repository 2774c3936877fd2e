// Command ctl drives an Orrery cluster: kubectl's verbs through kubectl's own
// library, the lab's verbs (up, down, status, on, trace, proxy-mode, kubeconfig), and each component as
// a subcommand (ctl serve apiserver | controller | node | proxy | dns | lb | network).
//
// Upstream counterpart: cmd/kubectl, kind's or minikube's command, and the mains of
// the control plane's components. This is the shell around all of them; nothing is
// decided here.
package main

import (
	"errors"
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"orrery.example.org/lab"
	"orrery.example.org/node/shim"
)

func main() {
	shim.RunIfShim() // this process may be the parent of a node's containers, or
	lab.RunIfChild() // this process may be the lab's own
	if err := cli.RunNoErrOutput(newRootCommand(os.Args)); err != nil {
		var status exitStatus
		if errors.As(err, &status) {
			os.Exit(int(status))
		}
		if own := (ownError{}); errors.As(err, &own) {
			fmt.Fprintf(os.Stderr, "ctl: %v\n", own.error)
			os.Exit(1)
		}
		cmdutil.CheckErr(err) // prints it as kubectl does and exits
	}
}

// exitStatus ends ctl with the status of a program it ran.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// ownError is an error of one of our verbs. It already says what to do; kubectl's
// printer would dress it up.
type ownError struct{ error }

func (e ownError) Unwrap() error { return e.error }
