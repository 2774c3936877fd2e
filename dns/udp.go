package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// maxQuery bounds the queries we read. A question is 271 bytes at most; the rest is
// room for EDNS0 options.
const maxQuery = 4096

// batchSize is how many queries are read and replied to in one go, where so many wait.
const batchSize = 32

// serveUDP answers what arrives on one socket. Several share an address, one per
// processor, and the kernel spreads the clients over them. Answers out of the index are
// made right here, and sent when all queries that had arrived have one; only where an
// upstream is asked does a goroutine wait.
func (s *Server) serveUDP(ctx context.Context, conn *net.UDPConn) error {
	if err := receiveDestination(conn); err != nil {
		return fmt.Errorf("prepare UDP socket: %w", err)
	}
	u := &udpSocket{
		server: s,
		conn:   ipv6.NewPacketConn(conn), // or ipv4's: batches are the same
		rooms:  make([][maxQuery]byte, batchSize),
		kept:   map[string]*replies{"1": {}, "2": {}},
	}
	defer u.pending.Wait()
	queries := newBatch()
	for {
		n, err := u.conn.ReadBatch(queries, 0)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read DNS queries by UDP: %w", err)
		}
		u.replies = u.replies[:0]
		for i := range queries[:n] {
			u.answer(ctx, &queries[i], u.rooms[i][:])
		}
		u.send(u.replies)
	}
}

// udpSocket is what serveUDP works with.
type udpSocket struct {
	server  *Server
	conn    *ipv6.PacketConn
	rooms   [][maxQuery]byte    // for the replies of a batch
	replies []ipv6.Message      // due when the batch is through
	kept    map[string]*replies // by the client's family: they are counted apart
	pending sync.WaitGroup      // for upstreams
}

// answer replies to one query, if not now then later. Whatever it hears with the query is
// overwritten by the next batch.
func (u *udpSocket) answer(ctx context.Context, query *ipv6.Message, room []byte) {
	from := client{addr: query.Addr.(*net.UDPAddr).AddrPort(), proto: "udp"}
	if !u.server.settings.Load().cfg.LogQueries { // else each query is to be looked at
		from.replies = u.kept[from.family()]
	}
	reply := ipv6.Message{Buffers: [][]byte{nil}, OOB: query.OOB[:query.NN], Addr: query.Addr}
	wire, later := u.server.respond(query.Buffers[0][:query.N], from, room)
	switch {
	case later != nil:
		reply.OOB = bytes.Clone(reply.OOB)
		u.pending.Go(func() {
			reply.Buffers[0] = later(ctx)
			u.send([]ipv6.Message{reply})
		})
	case wire != nil:
		reply.Buffers[0] = wire
		u.replies = append(u.replies, reply)
	}
}

// send sends replies, each from the address that the query was sent to.
func (u *udpSocket) send(replies []ipv6.Message) {
	for len(replies) > 0 {
		n, err := u.conn.WriteBatch(replies, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // A lost reply is UDP's everyday business: the client asks again.
			u.server.log.Debug("send DNS reply", "to", replies[0].Addr, "error", err)
			n = 1
		}
		replies = replies[n:]
	}
}

// newBatch makes room for queries, and for what receiveDestination asks the kernel for.
func newBatch() []ipv6.Message {
	batch := make([]ipv6.Message, batchSize)
	for i := range batch {
		batch[i].Buffers, batch[i].OOB = [][]byte{make([]byte, maxQuery)}, make([]byte, 64)
	}
	return batch
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
