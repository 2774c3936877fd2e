package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// What a TCP client may take of us. Each connection costs a goroutine and a few
// kilobytes, so that the sum stays bounded however many come, and however slow.
const (
	maxConnections = 1000
	idleTimeout    = 10 * time.Second // between queries, as CoreDNS has it
	messageTimeout = 5 * time.Second  // from a message's first byte to its last
)

// serveTCP accepts connections. Above the limit a new one is closed at once.
func (s *Server) serveTCP(ctx context.Context, listener net.Listener) error {
	var open sync.WaitGroup
	defer open.Wait()
	slots := make(chan struct{}, maxConnections)
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			// Out of file descriptors, or a client that left early: it passes.
			s.log.Warn("accept DNS connection", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			open.Go(func() {
				defer func() { <-slots }()
				s.serveConn(ctx, conn)
			})
		default:
			_ = conn.Close()
		}
	}
}

// serveConn answers the queries of one connection in their order, until the client
// closes it, goes quiet, or sends what is no query.
func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	peer, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	from := client{addr: peer, proto: "tcp"}
	in := bufio.NewReaderSize(conn, 512)
	for {
		query, err := readMessage(conn, in)
		if err != nil {
			return
		}
		replies := s.transfer(query, peer.Addr())
		if replies == nil {
			reply, later := s.respond(query, from, nil)
			if later != nil {
				reply = later(ctx)
			}
			replies = [][]byte{reply}
		}
		for _, reply := range replies {
			if reply == nil || writeMessage(conn, reply) != nil {
				return
			}
		}
	}
}

// readMessage reads one message with the length that goes before it on a stream.
func readMessage(conn net.Conn, in *bufio.Reader) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return nil, err
	}
	if _, err := in.Peek(1); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(messageTimeout)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > maxQuery {
		return nil, fmt.Errorf("query of %d bytes", n)
	}
	message := make([]byte, n)
	_, err := io.ReadFull(in, message)
	return message, err
}

func writeMessage(conn net.Conn, message []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(messageTimeout)); err != nil {
		return err
	}
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, len(message)+2), uint16(len(message)))
	_, err := conn.Write(append(framed, message...))
	return err
}
