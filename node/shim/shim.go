// Package shim is the parent of containers' own programs where they are to outlive the
// node's agent: one small process per node, started by the agent, which starts programs
// in the places that the agent made, writes their logs, holds their terminals and the
// Pods' namespaces, and notes on disk how they ended.
//
// Upstream counterpart: containerd with its shims, of which there is one per Pod. In flow
// requests of the agent over a unix socket in the state directory, with the namespaces'
// descriptors; out flow the program's output as it comes, its end, and Records. Nothing
// is decided here: the agent says what starts, what is to stop, and what is forgotten.
// Whether it is here or not makes no difference to the programs. Left out: programs that
// exec runs, probes, pause processes and built-in programs, which are the agent's.
//
// A request is a byte that carries descriptors and a JSON object; answers are JSON
// objects, too (wire.go). A shim tells its version in each answer. One of another
// version refuses all verbs but "end", whose form never changes: then the agent has it
// end its containers, and starts a shim of its own version.
package shim

import (
	"errors"
	"syscall"
	"time"

	"orrery.example.org/node/console"
	"orrery.example.org/node/workload"
)

// Version of the protocol and of the Records.
const Version = 1

// Start says what is to run, and where: in a place of a sandbox.
type Start struct {
	ID  string // of the run
	Pod string // the sandbox's directory, which stands for the Pod
	For string // for messages, and the name of the Record: namespace/pod/container

	HostIPC, HostPID bool
	Layer            string // of the place
	Grouped          bool   // the programs are born in a cgroup

	Argv, Env        []string
	Dir              string
	User             *syscall.Credential
	TTY              bool
	Stdin, StdinOnce bool

	Log    string // the file
	Limits console.Limits

	Note []byte // what the agent wants to know again
}

// Exit is how a program ended.
type Exit struct {
	Code, Signal int
	Error        string // why it could not be run; "": it was
	At           time.Time
}

// Err is what running the program returned.
func (e *Exit) Err() error {
	switch {
	case e.Error != "":
		return errors.New(e.Error)
	case e.Code == 0:
		return nil
	}
	return workload.Exit{Code: e.Code, Signal: e.Signal}
}

func exitOf(err error) *Exit {
	e := &Exit{At: time.Now()}
	if exit := (workload.Exit{}); errors.As(err, &exit) {
		e.Code, e.Signal = exit.Code, exit.Signal
	} else if err != nil {
		e.Error = err.Error()
	}
	return e
}

// Lost is how a program ended whose shim has gone.
var Lost = workload.Exit{Code: 137, Signal: 9}

// ErrLeft is what waiting for a program ends with that goes on without the agent.
var ErrLeft = errors.New("the container goes on without the agent")
