package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// setSysctls gives conntrack room for a node's connections, and patience with idle ones
// (P35). A namespace may set the timeouts; the room is the machine's, and a lab leaves it.
//
// Kubernetes: kube-proxy ends where it may not write, unless told to leave a value alone.
func (p *Proxy) setSysctls() {
	for _, s := range []struct {
		name  string
		value int
		raise bool // never lower it
	}{
		{"net/netfilter/nf_conntrack_max", p.conntrackMax(runtime.NumCPU()), true},
		{"net/netfilter/nf_conntrack_tcp_timeout_established", int(p.cfg.ConntrackEstablished / time.Second), false},
		{"net/netfilter/nf_conntrack_tcp_timeout_close_wait", int(p.cfg.ConntrackCloseWait / time.Second), false},
	} {
		if s.value <= 0 {
			continue
		}
		if err := setSysctl(p.cfg.Host, s.name, s.value, s.raise); err != nil {
			p.log.Info("the kernel's value stays", "sysctl", s.name, "err", err)
		}
	}
}

// conntrackMax is how many connections the kernel may know, 0 if that is its own affair.
func (p *Proxy) conntrackMax(cores int) int {
	const most = 1 << 20 // their memory is the kernel's
	if p.cfg.ConntrackMaxPerCore <= 0 {
		return p.cfg.ConntrackMin
	}
	return min(max(p.cfg.ConntrackMaxPerCore*cores, p.cfg.ConntrackMin), most)
}

// setSysctl writes a number to the kernel, unless it has it already, or more where it
// shall only be raised.
func setSysctl(h *host.Host, name string, value int, raise bool) error {
	file := filepath.Join("/proc/sys", name)
	return h.Do(func() error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		now, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if now == value || raise && now > value {
			return nil
		}
		return os.WriteFile(file, []byte(strconv.Itoa(value)), 0)
	})
}

// openLocalhost lets the kernel route packets of 127.0.0.1 to other interfaces, without
// which NodePorts cannot answer there (P32). A lab's namespace may forbid it; all other
// addresses work without.
func (p *Proxy) openLocalhost(f *family) {
	if f.mode.name != ModeIPTables || !p.cfg.LocalhostNodePorts || f.name != plan.IPv4 {
		return
	}
	if err := setSysctl(p.cfg.Host, "net/ipv4/conf/all/route_localnet", 1, false); err != nil {
		p.log.Warn("NodePorts will not answer on 127.0.0.1", "err", err)
	}
}
