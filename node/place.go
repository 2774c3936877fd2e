package node

import "orrery.example.org/host"

// PodHost is the place of a Pod that runs here, for programs that want to look at it
// from inside; nil if there is none. It is good until the Pod ends.
func (n *Node) PodHost(namespace, name string) *host.Host {
	p := n.findPod(namespace, name, "")
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.box == nil {
		return nil
	}
	return p.box.Host
}
