package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"orrery.example.org/host"
)

// The lab's door for ctl: HTTP on a socket in its directory, for what is not the
// cluster's business but the lab's.

// Status describes a running lab.
type Status struct {
	Name          string        `json:"name"`
	PID           int           `json:"pid"`
	Started       time.Time     `json:"started"`
	API           string        `json:"api"`
	ResidentBytes int64         `json:"residentBytes"`
	Places        []PlaceStatus `json:"places"`

	LoadBalancers []BalancerStatus `json:"loadBalancers,omitempty"`
}

// BalancerStatus is one port of a LoadBalancer Service.
type BalancerStatus struct {
	Service   string `json:"service"`
	Address   string `json:"address"`
	Port      string `json:"port"`
	Localhost string `json:"localhost,omitempty"` // where this machine reaches it
	// Nodes take its connections; for the others Excluded says why they do not.
	Nodes    []string          `json:"nodes"`
	Excluded map[string]string `json:"excluded,omitempty"`
}

// Outside is the name of the machine that is not in the cluster.
const Outside = outside

// PlaceStatus is one machine of the lab.
type PlaceStatus struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
	Role      string   `json:"role"`
	// ProxyMode is the mode of its service proxy, if it has one.
	ProxyMode string `json:"proxyMode,omitempty"`
}

// ModeChange is what became of a node's service proxy.
type ModeChange struct {
	Was  string        `json:"was"`
	Is   string        `json:"is"`
	Took time.Duration `json:"took"`
}

// Place says how to enter a place of the lab: files that stand for its namespaces.
type Place struct {
	User  string `json:"user,omitempty"` // empty: the caller's own
	Mount string `json:"mount"`
	Net   string `json:"net"`
}

// serveControl opens the door until the cluster goes down.
func (l *Lab) serveControl(ctx context.Context, c *cluster) error {
	path := c.config.State.controlSocket()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier run: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	var here *host.Host
	ln, err := here.Listen(ctx, "unix", shortPath(dir, path))
	if err != nil {
		_ = dir.Close()
		return fmt.Errorf("listen for ctl: %w", err)
	}
	if unix, ok := ln.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // by its short name, which is gone by then
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { reply(w, l.status(c), nil) })
	mux.HandleFunc("GET /places/{place...}", func(w http.ResponseWriter, r *http.Request) {
		place, err := c.place(r.PathValue("place"))
		reply(w, place, err)
	})
	mux.HandleFunc("PUT /nodes/{node}/proxy-mode/{mode}", func(w http.ResponseWriter, r *http.Request) {
		change, err := c.setProxyMode(r.Context(), r.PathValue("node"), r.PathValue("mode"))
		reply(w, change, err)
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // curl --unix-socket control.sock http://lab/debug/pprof/heap
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	c.workers.run("control socket", func(ctx context.Context) error {
		defer dir.Close()
		defer os.Remove(path)
		stop := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stop()
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// shortPath names a file by way of its open directory: a socket's name may have no
// more than 108 bytes, and a directory of a test or a user may well be longer.
func shortPath(dir *os.File, path string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller went away
}

func (l *Lab) status(c *cluster) Status {
	pid, _ := c.config.State.Running()
	s := Status{Name: c.config.State.Name, PID: pid, Started: l.started, API: c.url, ResidentBytes: residentBytes()}
	add := func(name string, address netip.Addr, role, mode string) {
		s.Places = append(s.Places, PlaceStatus{name, texts(c.config.addresses(address)), role, mode})
	}
	add(controlPlane, controlPlaneAddress, "etcd, API server, controllers, scheduler", "")
	add(balancer, balancerAddress, "load balancer, for "+list(families(c.config, balancerPool, balancerPool6)), "")
	for i, p := range c.proxies {
		add(nodeName(i+1), nodeAddress(i+1), "agent, service proxy, Pods", p.Mode())
	}
	if c.fakes != nil {
		add(fakes, fakesAddress, fmt.Sprintf("where the %d fake nodes are said to be", c.config.FakeNodes), "")
	}
	add(outside, outsideAddress, "a machine that is not in the cluster", "")
	s.LoadBalancers = c.balancers()
	return s
}

// balancers lists what the load balancer serves.
func (c *cluster) balancers() []BalancerStatus {
	var all []BalancerStatus
	for _, svc := range c.lb.Services() {
		nodes, excluded := []string{}, map[string]string{}
		for _, u := range svc.Uses {
			if u.Takes {
				nodes = append(nodes, u.Node)
			} else {
				excluded[u.Node] = u.Why
			}
		}
		for _, f := range svc.Ports {
			key := servicePort{svc.Name, f.Protocol, int32(f.Port)}
			all = append(all, BalancerStatus{svc.Name.String(), svc.Addr.String(), portText(key), c.ports.at(key), nodes, excluded})
		}
	}
	return all
}

// setProxyMode moves the service proxy of a node to another mode.
func (c *cluster) setProxyMode(ctx context.Context, node, mode string) (ModeChange, error) {
	for i, p := range c.proxies {
		if nodeName(i+1) != node {
			continue
		}
		change, start := ModeChange{Was: p.Mode()}, time.Now()
		err := p.SetMode(ctx, mode)
		change.Is, change.Took = p.Mode(), time.Since(start)
		return change, err
	}
	return ModeChange{}, fmt.Errorf("no node %q: there are %s to %s", node, nodeName(1), nodeName(len(c.proxies)))
}

// place finds a machine of the lab or a Pod: NAME, pod/NAME or pod/NAMESPACE/NAME.
func (c *cluster) place(name string) (Place, error) {
	pid, _ := c.config.State.Running() // as the machine numbers it; here we are 1
	self := fmt.Sprintf("/proc/%d", pid)
	h := c.fabric.hosts[name]
	if name == "switch" {
		h = c.fabric.wire
	}
	if pod, ok := strings.CutPrefix(name, "pod/"); ok {
		namespace, podName, found := strings.Cut(pod, "/")
		if !found {
			namespace, podName = "default", pod
		}
		for _, agent := range c.agents {
			if h = agent.PodHost(namespace, podName); h != nil {
				break
			}
		}
		if h == nil {
			return Place{}, fmt.Errorf("no node runs a Pod %s/%s with a network of its own", namespace, podName)
		}
	}
	if h == nil {
		return Place{}, fmt.Errorf("no place %q: there are %s, %s, %s, %s to %s, switch and pod/NAME", name, controlPlane, balancer, outside, nodeName(1), nodeName(c.config.Nodes))
	}
	p := Place{User: self + "/ns/user", Mount: self + "/ns/mnt", Net: fmt.Sprintf("%s/fd/%d", self, h.NetNS().Fd())}
	if h.MountNS() != nil {
		p.Mount = fmt.Sprintf("%s/fd/%d", self, h.MountNS().Fd())
	}
	return p, nil
}

func residentBytes() int64 {
	statm, _ := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
