package lab

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/apiserver"
	"orrery.example.org/controller"
	"orrery.example.org/host"
	"orrery.example.org/lb"
	"orrery.example.org/node"
	"orrery.example.org/node/fake"
	"orrery.example.org/pki"
	"orrery.example.org/proxy"
)

// cluster is what boot has built so far, so that close can take it down from any
// point of the way.
type cluster struct {
	config Config
	fabric *fabric
	ca     *pki.CA
	url    string // of the API, for this machine
	admin  kubernetes.Interface

	core    *group // the API server: first to come, last to go
	workers *group // all who talk to it
	agents  []*node.Node
	fakes   *fake.Nodes // nil: there are none
	proxies []*proxy.Proxy
	lb      *lb.Balancer
	ports   *hostPorts
}

// boot is the order in which a cluster comes to life. Each line may rely on the
// lines above it, and only on those.
func (l *Lab) boot(ctx context.Context, fail context.CancelCauseFunc, done func(name, detail string)) (c *cluster, err error) {
	c = &cluster{config: l.config, core: newGroup(fail), workers: newGroup(fail)}
	c.ports = newHostPorts(c)
	if err := c.config.checkPrograms(); err != nil {
		return c, err
	}
	if c.ca, err = pki.LoadOrCreateCA(c.path("pki"), "orrery-ca"); err != nil {
		return c, err
	}
	if c.fabric, err = newFabric(c.config); err != nil {
		return c, denied("build the node network", err)
	}
	done("certificates and the node network", "")

	if err := c.startAPIServer(ctx, l); err != nil {
		return c, err
	}
	done("API server on etcd", c.url+c.portNote())
	if err := c.removeStaleNodes(ctx); err != nil {
		return c, err
	}
	if err := c.startControllers(); err != nil {
		return c, err
	}
	for i := range c.config.Nodes {
		if err := c.startNode(i + 1); err != nil {
			return c, err
		}
	}
	if err := c.startFakes(); err != nil {
		return c, err
	}
	if err := c.startBalancer(); err != nil {
		return c, err
	}
	if err := c.furnish(ctx); err != nil {
		return c, err
	}
	if err := l.serveControl(ctx, c); err != nil {
		return c, err
	}
	for i, agent := range c.agents {
		if err := await(ctx, agent.Ready(), nodeName(i+1)+" to be Ready"); err != nil {
			return c, err
		}
	}
	done("nodes Ready", strconv.Itoa(len(c.agents)))
	for _, p := range c.proxies {
		if err := await(ctx, p.Ready(), "the service proxies to write their rules"); err != nil {
			return c, err
		}
	}
	if err := await(ctx, c.lb.Ready(), "the load balancer to be ready"); err != nil {
		return c, err
	}
	if err := c.awaitKubernetesService(ctx); err != nil {
		return c, err
	}
	done("kubernetes Service answers on every node", kubernetesService.String())
	if err := c.awaitDNS(ctx); err != nil {
		return c, err
	}
	done("cluster DNS answers", dnsService.String())
	if c.fakes != nil {
		if err := await(ctx, c.fakes.Ready(), "the fake nodes to be Ready"); err != nil {
			return c, err
		}
		done("fake nodes Ready", strconv.Itoa(c.config.FakeNodes))
	}
	return c, nil
}

// close takes the cluster down: first who talks to the API server, then it.
func (c *cluster) close() {
	c.workers.end()
	c.core.end()
	if c.fabric != nil {
		c.fabric.Close()
	}
}

func (c *cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.config.State.Dir}, elem...)...)
}

// startAPIServer starts etcd and the API server on control-plane, with a second
// listener on this machine's loopback, and writes the kubeconfigs.
func (c *cluster) startAPIServer(ctx context.Context, l *Lab) error {
	listener, err := listenLoopback(ctx, c.config)
	if err != nil {
		return err
	}
	serving, err := c.ca.Issue(c.config.servingRequest())
	if err != nil {
		return err
	}
	kubelet, err := c.ca.Issue(pki.APIServerClient)
	if err != nil {
		return err
	}
	cfg := apiserver.Defaults()
	cfg.Host = c.fabric.hosts[controlPlane]
	cfg.BindAddress = apiAddress.String()
	cfg.Listeners = []net.Listener{listener}
	cfg.AdvertiseAddress = apiAddress.String()
	cfg.ServiceCIDR = texts(families(c.config, serviceNetwork, serviceNetwork6))
	cfg.Etcd.DataDir, cfg.Etcd.UnsafeNoFsync = c.path("etcd"), c.config.NoFsync
	cfg.CA, cfg.Serving, cfg.KubeletClient = c.ca, serving, kubelet
	if cfg.ServiceAccountKey, err = pki.LoadOrCreateSigningKey(c.path("pki")); err != nil {
		return err
	}
	cfg.Log = l.log.With("component", "apiserver")
	server, err := apiserver.New(cfg)
	if err != nil {
		return err
	}
	c.core.run("API server", server.Run)
	if err := await(ctx, server.Ready(), "the API server to be ready"); err != nil {
		return err
	}
	c.url = "https://" + listener.Addr().String()
	return c.writeKubeconfigs()
}

// writeKubeconfigs gives the administrator's access to this machine and to programs
// inside the lab.
func (c *cluster) writeKubeconfigs() error {
	pair, err := c.ca.Issue(pki.Admin)
	if err != nil {
		return err
	}
	inside := pki.ClientConfig("https://"+apiAddress.String(), c.ca, pair)
	outside := pki.ClientConfig(c.url, c.ca, pair)
	if err := pki.WriteKubeconfig(c.config.State.InsideKubeconfig(), c.config.State.Name, inside); err != nil {
		return err
	}
	if err := markInside(c.config.State.InsideKubeconfig(), c.config.State.Name); err != nil {
		return err
	}
	if err := pki.WriteKubeconfig(c.config.State.Kubeconfig(), c.config.State.Name, outside); err != nil {
		return err
	}
	c.admin, err = kubernetes.NewForConfig(protobuf(c.dialFrom(c.fabric.hosts[controlPlane], inside)))
	return err
}

// client is a component's own access to the API, from its own place.
func (c *cluster) client(from *host.Host, who pki.Request) (*rest.Config, error) {
	pair, err := c.ca.Issue(who)
	if err != nil {
		return nil, err
	}
	return c.dialFrom(from, pki.ClientConfig("https://"+apiAddress.String(), c.ca, pair)), nil
}

func (c *cluster) dialFrom(from *host.Host, config *rest.Config) *rest.Config {
	config.Dial = from.Dial
	return config
}

func protobuf(config *rest.Config) *rest.Config {
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return config
}

func (c *cluster) startControllers() error {
	cfg := controller.Defaults()
	var err error
	if cfg.Client, err = c.client(c.fabric.hosts[controlPlane], pki.ControllerManager); err != nil {
		return err
	}
	if cfg.Scheduler, err = c.client(c.fabric.hosts[controlPlane], pki.Scheduler); err != nil {
		return err
	}
	cfg.ClusterCIDR, cfg.RootCA, cfg.SigningCA = list(families(c.config, podNetwork, podNetwork6)), c.ca.PEM, c.ca
	cfg.LoadBalancerPool = texts(families(c.config, balancerPool, balancerPool6))
	cfg.Log = c.logger("controller")
	manager, err := controller.New(cfg)
	if err != nil {
		return err
	}
	c.workers.run("controller manager", manager.Run)
	return nil
}

// startNode starts a node's agent and its service proxy, in the node's own place.
func (c *cluster) startNode(i int) error {
	name, addresses := nodeName(i), c.config.addresses(nodeAddress(i))
	place := c.fabric.hosts[name]
	agentClient, err := c.client(place, pki.Node(name))
	if err != nil {
		return err
	}
	request := pki.Node(name)
	request.DNS = []string{name}
	for _, a := range addresses {
		request.IPs = append(request.IPs, a.AsSlice())
	}
	serving, err := c.ca.Issue(request)
	if err != nil {
		return err
	}
	agentConfig := node.Defaults()
	agentConfig.Name, agentConfig.NodeIP, agentConfig.Host = name, texts(addresses), place
	if agentConfig.Network, err = c.client(place, pki.PodNetwork); err != nil {
		return err
	}
	agentConfig.Client, agentConfig.Serving, agentConfig.ClientCA = agentClient, serving, c.ca.PEM
	agentConfig.ClusterDNS = texts(families(c.config, dnsService, dnsService6))
	agentConfig.ClusterCIDR = texts(families(c.config, podNetwork, podNetwork6))
	agentConfig.StateDir = c.path("nodes", name)
	agentConfig.Images = slices.Concat(c.config.Images, agentConfig.Images)
	agentConfig.Workloads = append(agentConfig.Workloads, c.corednsWorkload())
	agentConfig.Log = c.logger("node")
	agent, err := node.New(agentConfig)
	if err != nil {
		return err
	}
	c.agents = append(c.agents, agent)
	c.workers.run("agent of "+name, agent.Run)

	proxyConfig := proxy.Defaults()
	if proxyConfig.Client, err = c.client(place, pki.KubeProxy); err != nil {
		return err
	}
	proxyConfig.NodeName, proxyConfig.Host = name, place
	proxyConfig.ClusterCIDR = list(families(c.config, podNetwork, podNetwork6))
	proxyConfig.ServiceCIDR = list(families(c.config, serviceNetwork, serviceNetwork6))
	proxyConfig.IPFamilies = families(c.config, "IPv4", "IPv6")
	proxyConfig.Mode = c.config.ProxyMode
	proxyConfig.Log = c.logger("proxy").With("node", name)
	p, err := proxy.New(proxyConfig)
	if err != nil {
		return err
	}
	c.proxies = append(c.proxies, p)
	c.workers.run("service proxy of "+name, p.Run)
	return nil
}

// startBalancer starts the load balancer on a machine of its own.
func (c *cluster) startBalancer() error {
	place := c.fabric.hosts[balancer]
	cfg := lb.Defaults()
	var err error
	if cfg.Client, err = c.client(place, pki.LoadBalancer); err != nil {
		return err
	}
	cfg.Host, cfg.Pool = place, texts(families(c.config, balancerPool, balancerPool6))
	cfg.Log = c.logger("lb")
	if c.lb, err = lb.New(cfg); err != nil {
		return err
	}
	c.workers.run("load balancer", c.lb.Run)
	return nil
}
