package lab

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"orrery.example.org/host"
)

// forwarder carries what arrives at one port of this machine into the lab.
type forwarder struct {
	number   int32
	listener io.Closer
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

func (f *forwarder) close() {
	f.cancel()
	_ = f.listener.Close()
	f.wg.Wait()
}

// forwardTCP carries connections to a port of 127.0.0.1; 0 is any that is free.
func forwardTCP(ctx context.Context, port int32, from *host.Host, target netip.AddrPort) (*forwarder, error) {
	var here *host.Host
	ln, err := here.Listen(ctx, "tcp", localhost(port))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &forwarder{number: int32(ln.Addr().(*net.TCPAddr).Port), listener: ln, cancel: cancel}
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

// udpIdle is how long a client of UDP is remembered that says nothing, and udpClients
// how many are: each costs a socket.
const (
	udpIdle    = time.Minute
	udpClients = 1024
)

// forwardUDP carries datagrams to a port of 127.0.0.1. Each client has a socket of its
// own in the lab, so that answers find their way back to it.
func forwardUDP(ctx context.Context, port int32, from *host.Host, target netip.AddrPort) (*forwarder, error) {
	var here *host.Host
	pc, err := here.ListenPacket(ctx, "udp", localhost(port), false)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &forwarder{number: int32(pc.LocalAddr().(*net.UDPAddr).Port), listener: pc, cancel: cancel}
	r := &udpRelay{out: pc, from: from, target: target, clients: map[string]net.Conn{}}
	f.wg.Go(func() {
		r.run(ctx, &f.wg)
		r.closeAll()
	})
	return f, nil
}

// udpRelay knows the clients of one port.
type udpRelay struct {
	out    net.PacketConn
	from   *host.Host
	target netip.AddrPort

	mu      sync.Mutex
	clients map[string]net.Conn
}

// run carries datagrams in until the port is closed.
func (r *udpRelay) run(ctx context.Context, wg *sync.WaitGroup) {
	buffer := make([]byte, 65536)
	for {
		n, client, err := r.out.ReadFrom(buffer)
		if err != nil {
			return
		}
		conn := r.client(ctx, client, wg)
		if conn == nil {
			continue // a datagram may be lost
		}
		_ = conn.SetReadDeadline(time.Now().Add(udpIdle))
		_, _ = conn.Write(buffer[:n])
	}
}

// client is the socket of a client, nil if there is none to be had.
func (r *udpRelay) client(ctx context.Context, addr net.Addr, wg *sync.WaitGroup) net.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if conn := r.clients[addr.String()]; conn != nil {
		return conn
	}
	if len(r.clients) >= udpClients {
		return nil
	}
	conn, err := r.from.Dial(ctx, "udp", r.target.String())
	if err != nil {
		return nil
	}
	r.clients[addr.String()] = conn
	wg.Go(func() { r.back(addr, conn) })
	return conn
}

// back carries a client's answers out until it has been silent for long, or the lab says
// that there is nobody.
func (r *udpRelay) back(addr net.Addr, conn net.Conn) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		_ = conn.Close()
		delete(r.clients, addr.String())
	}()
	buffer := make([]byte, 65536)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		_ = conn.SetReadDeadline(time.Now().Add(udpIdle))
		if _, err := r.out.WriteTo(buffer[:n], addr); err != nil {
			return
		}
	}
}

// closeAll ends all clients.
func (r *udpRelay) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.clients {
		_ = conn.Close()
	}
}
