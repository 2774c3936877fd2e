package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"orrery.example.org/apiserver"
	"orrery.example.org/pki"
)

// apiServerConfig adds to the API server's own configuration where its certificates
// are kept, and for whom it makes some.
type apiServerConfig struct {
	apiserver.Config `mapstructure:",squash"`
	PKIDir           string   `mapstructure:"pki-dir" usage:"directory of the CA and of the kubeconfigs; made on the first start"`
	Names            []string `mapstructure:"names" usage:"more names and addresses for the server's certificate"`
	Nodes            []string `mapstructure:"nodes" usage:"NAME=ADDRESS of nodes to make a kubeconfig and a serving certificate for"`
}

func newServeAPIServerCommand() *cobra.Command {
	defaults := apiServerConfig{Config: apiserver.Defaults()}
	return component("apiserver", "The API server, with its own etcd or an external one", defaults,
		func(c apiServerConfig, log *slog.Logger) (func(context.Context) error, error) {
			if err := c.complete(); err != nil {
				return nil, err
			}
			c.Log = log
			server, err := apiserver.New(c.Config)
			if err != nil {
				return nil, err
			}
			return server.Run, nil
		})
}

// complete finds or makes the certificates, and writes a kubeconfig for everyone.
func (c *apiServerConfig) complete() error {
	if c.PKIDir == "" {
		return errors.New("pki-dir is not set: name a directory for the cluster's certificates")
	}
	if c.AdvertiseAddress == "" {
		c.AdvertiseAddress = c.BindAddress
	}
	advertise, err := netip.ParseAddrPort(c.AdvertiseAddress)
	if err != nil {
		return fmt.Errorf("advertise-address: %w; give an address and a port, e.g. 192.0.2.1:6443", err)
	}
	if advertise.Addr().IsUnspecified() {
		return fmt.Errorf("advertise-address: nobody can reach %s; say under which address the cluster reaches this server", advertise.Addr())
	}
	unlock, err := pki.Lock(c.PKIDir)
	if err != nil {
		return err
	}
	defer unlock()
	if c.CA, err = pki.LoadOrCreateCA(c.PKIDir, "orrery-ca"); err != nil {
		return err
	}
	if c.ServiceAccountKey, err = pki.LoadOrCreateSigningKey(c.PKIDir); err != nil {
		return err
	}
	request, err := c.servingRequest(advertise.Addr())
	if err != nil {
		return err
	}
	if c.Serving, err = c.CA.Issue(request); err != nil {
		return err
	}
	if c.KubeletClient, err = c.CA.Issue(pki.APIServerClient); err != nil {
		return err
	}
	if err := c.completePeers(); err != nil {
		return err
	}
	return c.writeKubeconfigs()
}

// completePeers makes this etcd member's certificate, by a CA that signs for members only:
// whoever has one of its certificates may change everything.
//
// Upstream counterpart: kubeadm's etcd/ca and etcd/peer.
func (c *apiServerConfig) completePeers() error {
	peers := &c.Etcd.Peers
	if peers.InitialCluster == "" {
		return nil
	}
	if c.ControlPlaneEndpoint == "" {
		return errors.New("control-plane-endpoint is not set: with several API servers, say where clients reach any of them")
	}
	if peers.PeerCertFile+peers.PeerKeyFile+peers.PeerTrustedCAFile != "" {
		return nil // somebody else makes them
	}
	urls, err := peers.URLs()
	if err != nil {
		return err
	}
	dir := filepath.Join(c.PKIDir, "etcd")
	ca, err := pki.LoadOrCreateCA(dir, "etcd-ca")
	if err != nil {
		return err
	}
	request := pki.Request{User: peers.Name}
	for _, u := range urls {
		request.Serve(u.Hostname())
	}
	pair, err := ca.Issue(request)
	if err != nil {
		return err
	}
	name := "peer-" + peers.Name
	if err := pair.Write(dir, name); err != nil {
		return fmt.Errorf("write the certificate of etcd's member %s: %w", peers.Name, err)
	}
	client, err := ca.Issue(pki.Request{User: "apiserver-etcd-client"}) // for ctl etcd, and etcdctl
	if err != nil {
		return err
	}
	if err := client.Write(dir, "client"); err != nil {
		return fmt.Errorf("write the certificate of etcd's clients: %w", err)
	}
	peers.PeerCertFile, peers.PeerKeyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	peers.PeerTrustedCAFile = filepath.Join(dir, "ca.crt")
	return nil
}

func (c *apiServerConfig) servingRequest(advertise netip.Addr) (pki.Request, error) {
	r := pki.Request{User: "kube-apiserver",
		DNS: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, advertise.AsSlice()}}
	for _, cidr := range c.ServiceCIDR {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return r, fmt.Errorf("service-cidr: %w", err)
		}
		r.IPs = append(r.IPs, prefix.Masked().Addr().Next().AsSlice()) // the kubernetes Service
	}
	for _, name := range c.Names {
		r.Serve(name)
	}
	if c.ControlPlaneEndpoint != "" {
		name, _, err := net.SplitHostPort(c.ControlPlaneEndpoint)
		if err != nil {
			return r, fmt.Errorf("control-plane-endpoint: %w; give a name or an address and a port, e.g. api.example.org:6443", err)
		}
		r.Serve(name)
	}
	return r, nil
}

func (c *apiServerConfig) writeKubeconfigs() error {
	clients := map[string]pki.Request{
		"admin": pki.Admin, "controller": pki.ControllerManager, "proxy": pki.KubeProxy, "lb": pki.LoadBalancer,
		"dns": pki.ServiceAccount("kube-system", "coredns"), "scheduler": pki.Scheduler, "network": pki.PodNetwork,
		"fake-nodes": pki.FakeNodes,
	}
	for _, n := range c.Nodes {
		name, address, err := parseNode(n)
		if err != nil {
			return err
		}
		clients["node-"+name] = pki.Node(name)
		request := pki.Node(name)
		request.DNS, request.IPs = []string{name}, []net.IP{address.AsSlice()}
		pair, err := c.CA.Issue(request)
		if err != nil {
			return err
		}
		if err := pair.Write(c.PKIDir, "node-"+name); err != nil {
			return fmt.Errorf("write the certificate of node %s: %w", name, err)
		}
	}
	for name, who := range clients {
		pair, err := c.CA.Issue(who)
		if err != nil {
			return err
		}
		config := pki.ClientConfig("https://"+cmp.Or(c.ControlPlaneEndpoint, c.AdvertiseAddress), c.CA, pair)
		if err := pki.WriteKubeconfig(filepath.Join(c.PKIDir, name+".kubeconfig"), name, config); err != nil {
			return fmt.Errorf("write the kubeconfig of %s: %w", name, err)
		}
	}
	return nil
}

func parseNode(s string) (name string, address netip.Addr, err error) {
	name, text, ok := strings.Cut(s, "=")
	if ok {
		address, err = netip.ParseAddr(text)
	}
	if !ok || err != nil {
		return "", address, fmt.Errorf("nodes: %q is not NAME=ADDRESS, e.g. node1=192.0.2.11", s)
	}
	return name, address, nil
}
