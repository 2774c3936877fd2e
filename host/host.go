// Package host is the one seam between a component and the machine it runs on.
//
// A component never calls net.Listen, net.Dial or os/exec itself. It goes through
// the Host in its Config, which is bound to one network namespace: by default the
// process's own, in the lab that of a node, of a Pod or of the control plane. That
// is what lets one process hold a whole cluster while each component's packets
// leave from its own place (a test forbids the shortcuts).
//
// Upstream has no counterpart: there every component has a machine to itself.
package host

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is a place to listen, dial, run programs and configure links.
// A nil *Host is the process's own place. Safe for concurrent use.
type Host struct {
	name  string
	netNS *os.File
	mntNS *os.File // nil: the process's own

	mu    sync.Mutex
	links *netlink.Handle
}

// New makes a Host from namespace files, which it owns from then on.
// mntNS may be nil.
func New(name string, netNS, mntNS *os.File) *Host {
	return &Host{name: name, netNS: netNS, mntNS: mntNS}
}

// Create makes a new network namespace and the Host bound to it. prepare, unless
// nil, runs inside it first, in a new mount namespace of its own as well: what it
// mounts is seen by this Host's programs only.
func Create(name string, prepare func() error) (*Host, error) {
	h := &Host{name: name}
	err := onThread(func() error {
		flags := unix.CLONE_NEWNET
		if prepare != nil {
			flags |= unix.CLONE_FS | unix.CLONE_NEWNS
		}
		if err := unix.Unshare(flags); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		if h.netNS, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if prepare == nil {
			return nil
		}
		if h.mntNS, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
			return err
		}
		return prepare()
	})
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("create namespace %s: %w", name, err)
	}
	return h, nil
}

// Close drops the namespaces; they go away when their last socket or process does.
func (h *Host) Close() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links != nil {
		h.links.Close()
		h.links = nil
	}
	for _, f := range []*os.File{h.netNS, h.mntNS} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Name is the place's name for messages, "" for the process's own.
func (h *Host) Name() string {
	if h == nil {
		return ""
	}
	return h.name
}

// NetNS and MountNS are the namespace files, nil for the process's own.
func (h *Host) NetNS() *os.File {
	if h == nil {
		return nil
	}
	return h.netNS
}

// MountNS is the mount namespace file, nil for the process's own.
func (h *Host) MountNS() *os.File {
	if h == nil {
		return nil
	}
	return h.mntNS
}

// Do runs f on a thread that is in the Host's namespaces. Sockets and processes
// that f makes belong there for life; goroutines that f starts do not run there.
func (h *Host) Do(f func() error) error {
	births.RLock() // see ReapOrphans
	defer births.RUnlock()
	if h == nil || h.netNS == nil {
		return f()
	}
	return onThread(func() error {
		if h.mntNS != nil {
			if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns(CLONE_NEWNS) refuses a shared fs
				return fmt.Errorf("unshare fs: %w", err)
			}
			if err := unix.Setns(int(h.mntNS.Fd()), unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("enter mount namespace of %s: %w", h.name, err)
			}
		}
		if err := unix.Setns(int(h.netNS.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace of %s: %w", h.name, err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own and ends the thread with it: a thread that
// entered a namespace must never serve another goroutine again.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // not unlocked, so the thread dies with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The main thread does not die, and its namespaces are what /proc/PID shows of
			// the process. Hold it while another one does the work.
			defer runtime.UnlockOSThread()
			done <- onThread(f)
			return
		}
		done <- f()
	}()
	return <-done
}

// Listen opens a stream listener. address is host:port with a literal IP or none.
func (h *Host) Listen(ctx context.Context, network, address string) (ln net.Listener, err error) {
	err = h.Do(func() error {
		ln, err = (&net.ListenConfig{}).Listen(ctx, network, address)
		return err
	})
	return ln, err
}

// ListenPacket opens a datagram socket. reusePort lets several sockets share the address.
func (h *Host) ListenPacket(ctx context.Context, network, address string, reusePort bool) (pc net.PacketConn, err error) {
	lc := &net.ListenConfig{}
	if reusePort {
		lc.Control = setReusePort
	}
	err = h.Do(func() error {
		pc, err = lc.ListenPacket(ctx, network, address)
		return err
	})
	return pc, err
}

// Dial connects to a literal IP and port. Names are refused: resolving them would
// happen on another thread, in the wrong namespace.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if h != nil {
		if _, err := netip.ParseAddrPort(address); err != nil {
			return nil, fmt.Errorf("dial from %s: %q is not a literal address and port", h.name, address)
		}
	}
	err = h.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Links returns a handle for interfaces, addresses and routes of the Host's network
// namespace. It is opened once and closed with the Host.
func (h *Host) Links() (*netlink.Handle, error) {
	if h == nil {
		return h.Netlink(unix.NETLINK_ROUTE)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links != nil {
		return h.links, nil
	}
	var err error
	h.links, err = h.Netlink(unix.NETLINK_ROUTE)
	return h.links, err
}

// Netlink opens a handle for some families (unix.NETLINK_ROUTE, …) that works in the
// Host's network namespace for life; the caller closes it.
//
// It is opened on a thread that ends there. netlink.NewHandleAt would go in and come
// back, and from inside a user namespace the way back fails, unnoticed, so that a
// thread which serves other goroutines stays in the wrong place.
func (h *Host) Netlink(families ...int) (handle *netlink.Handle, err error) {
	err = h.Do(func() error {
		handle, err = netlink.NewHandle(families...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink in %q: %w", h.Name(), err)
	}
	return handle, nil
}
