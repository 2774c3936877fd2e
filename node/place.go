package node

import "orrery.example.org/host"

// PodHost is the place of a Pod that runs here, for programs that want to look at it
// from inside; nil if there is none. It is good until the Pod ends.
func (n *Node) PodHost(namespace, name string) *host.Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		if h := p.place(namespace, name); h != nil {
			return h
		}
	}
	return nil
}

func (p *pod) place(namespace, name string) *host.Host {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.box == nil || p.object.Namespace != namespace || p.object.Name != name {
		return nil
	}
	return p.box.Host
}
