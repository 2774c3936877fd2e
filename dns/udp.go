package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// maxQuery bounds the queries we read. A question is 271 bytes at most; the rest is
// room for EDNS0 options.
const maxQuery = 4096

// serveUDP answers what arrives on one socket. Several share an address, one per
// processor, and the kernel spreads the clients over them. Answers out of the index are
// made and sent right here; only where an upstream is asked does a goroutine wait.
func (s *Server) serveUDP(ctx context.Context, conn *net.UDPConn) error {
	var pending sync.WaitGroup
	defer pending.Wait()
	if err := receiveDestination(conn); err != nil {
		return fmt.Errorf("prepare UDP socket: %w", err)
	}
	query, reply, control := make([]byte, maxQuery), make([]byte, maxQuery), make([]byte, 64)
	for {
		n, nc, _, peer, err := conn.ReadMsgUDPAddrPort(query, control)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read DNS query by UDP: %w", err)
		}
		source := control[:nc]
		out, later := s.respond(query[:n], client{addr: peer, proto: "udp"}, reply)
		if later != nil {
			source = append([]byte(nil), source...)
			pending.Go(func() { s.sendUDP(conn, later(ctx), source, peer) })
			continue
		}
		s.sendUDP(conn, out, source, peer)
	}
}

// sendUDP sends a reply from the address that the query was sent to.
func (s *Server) sendUDP(conn *net.UDPConn, reply, source []byte, peer netip.AddrPort) {
	if reply == nil {
		return
	}
	// A lost reply is UDP's everyday business: the client asks again.
	if _, _, err := conn.WriteMsgUDPAddrPort(reply, source, peer); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Debug("send DNS reply", "to", peer, "error", err)
	}
}

// receiveDestination has the kernel tell with each packet which of our addresses it was
// sent to, for a socket that listens on all of them. The same control message, given
// back with the reply, makes that the reply's source; a resolver ignores others.
func receiveDestination(conn *net.UDPConn) error {
	local := conn.LocalAddr().(*net.UDPAddr)
	if !local.IP.IsUnspecified() {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	if local.IP.To4() != nil {
		level, option = unix.IPPROTO_IP, unix.IP_PKTINFO
	}
	var sockErr error
	err = raw.Control(func(fd uintptr) { sockErr = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, sockErr)
}
