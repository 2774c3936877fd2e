package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	ProxyMode     string        `json:"proxyMode"`
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
	Name    string `json:"name"`
	Address string `json:"address"`
	Role    string `json:"role"`
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
	s := Status{Name: c.config.State.Name, PID: pid, Started: l.started, API: c.url, ProxyMode: c.config.ProxyMode, ResidentBytes: residentBytes()}
	s.Places = append(s.Places, PlaceStatus{controlPlane, controlPlaneAddress.String(), "etcd, API server, controllers, scheduler"})
	s.Places = append(s.Places, PlaceStatus{balancer, balancerAddress.String(), "load balancer, for " + balancerPool.String()})
	for i := range c.config.Nodes {
		s.Places = append(s.Places, PlaceStatus{nodeName(i + 1), nodeAddress(i + 1).String(), "agent, service proxy, Pods"})
	}
	s.Places = append(s.Places, PlaceStatus{outside, outsideAddress.String(), "a machine that is not in the cluster"})
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

// Status asks the running lab.
func (s State) Status() (Status, error) {
	var status Status
	return status, s.ask("/status", &status)
}

// Place asks the running lab how to enter a place.
func (s State) Place(name string) (Place, error) {
	var p Place
	if err := s.ask("/places/"+name, &p); err != nil {
		return p, err
	}
	// Entering the user namespace one is in already is an error; root's lab has none.
	theirs, err := os.Readlink(p.User)
	if err != nil {
		return p, fmt.Errorf("look at the lab's namespaces: %w", err)
	}
	if ours, _ := os.Readlink("/proc/self/ns/user"); ours == theirs {
		p.User = ""
	}
	return p, nil
}

func (s State) ask(path string, answer any) error {
	dir, err := os.Open(s.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	var here *host.Host
	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return here.Dial(ctx, "unix", shortPath(dir, s.controlSocket()))
		}},
	}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://lab" + path)
	if err != nil {
		return fmt.Errorf("ask lab %q: %w", s.Name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return errors.New(strings.TrimSpace(string(text)))
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
