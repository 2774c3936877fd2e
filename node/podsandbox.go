package node

import (
	"context"
	"errors"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/network"
	"orrery.example.org/node/sandbox"
)

// setup makes the sandbox, as often as it takes.
func (p *pod) setup(ctx context.Context) bool {
	for retry := pace(0); ; {
		err := p.createSandbox(ctx)
		if err == nil {
			poke(p.wake)
			return true
		}
		p.event(corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error())
		if sleep(ctx, retry.next()) != nil {
			return false
		}
	}
}

func (p *pod) createSandbox(ctx context.Context) (err error) {
	object, n := p.latest(), p.node
	if object.Spec.HostNetwork {
		p.setSandbox(nil, n.addrs)
	} else if len(p.addresses()) == 0 {
		addrs, err := n.network.Pools.Allocate()
		if err != nil {
			return err
		}
		p.setSandbox(nil, addrs)
	}
	if err := p.makeCgroup(); err != nil {
		return err
	}
	box, err := sandbox.Create(p.sandboxConfig())
	if err != nil {
		return err
	}
	if !object.Spec.HostNetwork {
		link := network.LinkName(string(p.uid))
		err := n.network.Attach(box.Host, link, p.addresses())
		if err == nil {
			err = n.network.SetHostPorts(ctx, string(p.uid), hostPorts(object, p.addresses()))
		}
		if err != nil {
			return errors.Join(err, n.network.Detach(link), box.Close())
		}
	}
	p.setSandbox(box, p.addresses())
	return nil
}

func (p *pod) sandboxConfig() sandbox.Config {
	object, n := p.latest(), p.node
	hostname, _ := sandbox.Hostname(object, n.cfg.ClusterDomain)
	if object.Spec.HostNetwork {
		hostname = n.cfg.Name
	}
	return sandbox.Config{
		Name:        podName(object),
		Dir:         p.dir(),
		Hostname:    hostname,
		ResolvConf:  sandbox.ResolvConf(object, n.dns),
		Hosts:       sandbox.Hosts(object, p.addresses(), n.cfg.ClusterDomain, readOrEmpty("/etc/hosts")),
		Memory:      p.memoryVolumes(),
		HostNetwork: object.Spec.HostNetwork,
		HostIPC:     object.Spec.HostIPC,
		Node:        n.cfg.Host,
	}
}

// takeUp brings up to date what an earlier run of the agent set up.
func (p *pod) takeUp(ctx context.Context) {
	p.tellDamage()
	object, n := p.latest(), p.node
	if !object.Spec.HostNetwork {
		if err := n.network.SetHostPorts(ctx, string(p.uid), hostPorts(object, p.addresses())); err != nil && ctx.Err() == nil {
			n.cfg.Log.Error("setting the host ports of a Pod", "pod", podName(object), "err", err)
		}
	}
	poke(p.refresh) // objects may have changed meanwhile
	poke(p.wake)
}

// teardown removes the namespaces, the link and the addresses. Logs stay until the
// object is gone. ctx, which may have ended, is not to keep it from that.
func (p *pod) teardown(ctx context.Context) {
	p.mu.Lock()
	box, addrs, handed := p.box, p.addrs, p.handed
	p.box = nil
	p.mu.Unlock()
	if handed && ctx.Err() != nil { // the Pod goes on without the agent
		box.Leave()
		return
	}
	var errs []error
	if handed {
		p.node.drop(p.dir())
	}
	if box != nil {
		errs = append(errs, box.Close())
	}
	if tree := p.node.limits; tree != nil {
		errs = append(errs, tree.RemovePod(string(p.uid)))
	}
	if !p.latest().Spec.HostNetwork && len(addrs) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
		defer cancel()
		errs = append(errs, p.node.network.SetHostPorts(ctx, string(p.uid), nil), p.node.network.Detach(network.LinkName(string(p.uid))))
		p.node.network.Pools.Release(addrs)
	}
	if err := errors.Join(errs...); err != nil {
		p.node.cfg.Log.Error("removing a Pod's sandbox", "pod", podName(p.latest()), "err", err)
	}
}

func (p *pod) setSandbox(box *sandbox.Sandbox, addrs []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.box, p.addrs = box, addrs
}

// addresses are the Pod's, in the order of the node's families. The first one is its podIP.
func (p *pod) addresses() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addrs
}

func (p *pod) sandbox() *sandbox.Sandbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.box
}
