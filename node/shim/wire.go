package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"orrery.example.org/host"
)

// The verbs.
const (
	verbList   = "list"   // the runs that go on
	verbStart  = "start"  // a run; then as follow. With the sandbox's files, the place's mounts, and its cgroup
	verbFollow = "follow" // a run: its output, and its end; orders may be given meanwhile
	verbStdin  = "stdin"  // a run's: what follows is bytes
	verbTake   = "take"   // a Pod's files, and then the mounts of each run that goes on
	verbDrop   = "drop"   // a run, or a Pod with all its runs: they are killed and forgotten
	verbEnd    = "end"    // the shim, with all its runs
)

// request is what the agent wants.
type request struct {
	Version int
	Verb    string
	ID, Pod string
	Start   *Start
}

// answer is what it gets, more than once while it follows a run.
type answer struct {
	Version  int
	Error    string   `json:",omitempty"`
	List     *List    `json:",omitempty"`
	PID      int      `json:",omitempty"` // the program runs
	Out, Err []byte   `json:",omitempty"`
	Exit     *Exit    `json:",omitempty"`
	Mounts   []string `json:",omitempty"` // the runs whose mounts follow the Pod's files
}

// List is all that a shim has.
type List struct {
	Pods []string // their directories
	Runs []Run    // that go on
}

// Run is one that goes on.
type Run struct {
	ID, Pod string
	PID     int
}

// order is what is sent while a run is followed.
type order struct {
	Signal int                         `json:",omitempty"` // SIGTERM for the program, or SIGKILL for all it started
	Size   *remotecommand.TerminalSize `json:",omitempty"`
}

// address names the socket in a directory, whose own path may be longer than a socket's
// address can be.
func address(dir string) (path string, done func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), "shim.sock"), func() { _ = d.Close() }, nil
}

// dial connects to the shim of a directory.
func dial(ctx context.Context, dir string) (*net.UnixConn, error) {
	path, done, err := address(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	var here *host.Host
	conn, err := here.Dial(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// send writes a message with files.
func send(conn *net.UnixConn, message any, files ...*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	if _, _, err := conn.WriteMsgUnix([]byte{'#'}, unix.UnixRights(fds...), nil); err != nil {
		return err
	}
	return json.NewEncoder(conn).Encode(message)
}

// maxFiles is how many descriptors the kernel lets one message carry.
const maxFiles = 253

// receiveFiles reads the first byte of a message, with the files that it carries.
func receiveFiles(conn *net.UnixConn) (files []*os.File, err error) {
	first, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(first, rights)
	if err != nil {
		return nil, err
	}
	if n != 1 || first[0] != '#' {
		return nil, errors.New("this is not a message of the agent or its shim")
	}
	messages, err := unix.ParseSocketControlMessage(rights[:oobn])
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), fmt.Sprintf("received %d", fd)))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written to them
	}
}
