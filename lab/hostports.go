package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"

	"orrery.example.org/host"
)

// A NodePort is reachable from this machine on 127.0.0.1, at its own number: each
// connection is carried to the first node from outside of the cluster, so that it
// takes the path of any external client.
//
// TCP only: a datagram has no connection that could be carried.

// nodePorts are the listeners on this machine.
type nodePorts struct {
	c    *cluster
	open map[int32]*forwarder
}

// forwardNodePorts follows the Services until ctx ends.
func (c *cluster) forwardNodePorts(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(c.admin, 0)
	services := factory.Core().V1().Services()
	changed, _, err := changes(services.Informer())
	if err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	ports := &nodePorts{c: c, open: map[int32]*forwarder{}}
	defer ports.sync(ctx, nil)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		all, err := services.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		ports.sync(ctx, wantedPorts(all))
	}
}

// wantedPorts are the TCP NodePorts of all Services.
func wantedPorts(services []*corev1.Service) map[int32]bool {
	wanted := map[int32]bool{}
	for _, s := range services {
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 && p.Protocol == corev1.ProtocolTCP {
				wanted[p.NodePort] = true
			}
		}
	}
	return wanted
}

// sync opens and closes listeners. A port that another program has is left alone
// and tried again at the next change.
func (n *nodePorts) sync(ctx context.Context, wanted map[int32]bool) {
	for port, f := range n.open {
		if !wanted[port] {
			f.close()
			delete(n.open, port)
		}
	}
	for port := range wanted {
		if n.open[port] != nil {
			continue
		}
		target := netip.AddrPortFrom(nodeAddress(1), uint16(port))
		f, err := forward(ctx, fmt.Sprintf("127.0.0.1:%d", port), n.c.fabric.hosts[outside], target)
		if err != nil {
			n.c.logger("hostports").Warn("a NodePort is not reachable from this machine", "port", port, "error", err)
			continue
		}
		n.open[port] = f
	}
}

// forwarder carries the connections of one listener.
type forwarder struct {
	listener net.Listener
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

func forward(ctx context.Context, listen string, from *host.Host, target netip.AddrPort) (*forwarder, error) {
	var here *host.Host
	ln, err := here.Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &forwarder{listener: ln, cancel: cancel}
	f.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { carry(ctx, conn, from, target) })
		}
	})
	return f, nil
}

func (f *forwarder) close() {
	f.cancel()
	_ = f.listener.Close()
	f.wg.Wait()
}

// carry connects client with target until one of them is done or ctx ends.
func carry(ctx context.Context, client net.Conn, from *host.Host, target netip.AddrPort) {
	defer client.Close()
	server, err := from.Dial(ctx, "tcp", target.String())
	if err != nil {
		// A refused connection looks refused: reset instead of an empty answer.
		if tcp, ok := client.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { pour(server, client) })
	wg.Go(func() { pour(client, server) })
	wg.Wait()
}

// pour copies one direction and passes its end on.
func pour(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
