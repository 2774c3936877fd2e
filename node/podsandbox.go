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
		p.setSandbox(nil, n.addr)
	} else if !p.address().IsValid() {
		addr, err := n.network.Pool.Allocate()
		if err != nil {
			return err
		}
		p.setSandbox(nil, addr)
	}
	if err := p.makeCgroup(); err != nil {
		return err
	}
	hostname, _ := sandbox.Hostname(object, n.cfg.ClusterDomain)
	if object.Spec.HostNetwork {
		hostname = n.cfg.Name
	}
	box, err := sandbox.Create(sandbox.Config{
		Name:        podName(object),
		Dir:         p.dir(),
		Hostname:    hostname,
		ResolvConf:  sandbox.ResolvConf(object, n.dns),
		Hosts:       sandbox.Hosts(object, p.address(), n.cfg.ClusterDomain, readOrEmpty("/etc/hosts")),
		Memory:      p.memoryVolumes(),
		HostNetwork: object.Spec.HostNetwork,
		HostIPC:     object.Spec.HostIPC,
		Node:        n.cfg.Host,
	})
	if err != nil {
		return err
	}
	if !object.Spec.HostNetwork {
		link := network.LinkName(string(p.uid))
		err := n.network.Attach(box.Host, link, p.address())
		if err == nil {
			err = n.network.SetHostPorts(ctx, string(p.uid), hostPorts(object, p.address()))
		}
		if err != nil {
			return errors.Join(err, n.network.Detach(link), box.Close())
		}
	}
	p.setSandbox(box, p.address())
	return nil
}

// teardown removes the namespaces, the link and the address. Logs stay until the
// object is gone. ctx, which may have ended, is not to keep it from that.
func (p *pod) teardown(ctx context.Context) {
	p.mu.Lock()
	box, addr := p.box, p.addr
	p.box = nil
	p.mu.Unlock()
	var errs []error
	if box != nil {
		errs = append(errs, box.Close())
	}
	if tree := p.node.limits; tree != nil {
		errs = append(errs, tree.RemovePod(string(p.uid)))
	}
	if !p.latest().Spec.HostNetwork && addr.IsValid() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
		defer cancel()
		errs = append(errs, p.node.network.SetHostPorts(ctx, string(p.uid), nil), p.node.network.Detach(network.LinkName(string(p.uid))))
		p.node.network.Pool.Release(addr)
	}
	if err := errors.Join(errs...); err != nil {
		p.node.cfg.Log.Error("removing a Pod's sandbox", "pod", podName(p.latest()), "err", err)
	}
}

func (p *pod) setSandbox(box *sandbox.Sandbox, addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.box, p.addr = box, addr
}

func (p *pod) address() netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

func (p *pod) sandbox() *sandbox.Sandbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.box
}
