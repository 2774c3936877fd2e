package dns

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestPipelining: several queries in one segment are answered in order.
func TestPipelining(t *testing.T) {
	_, address := start(t, testConfig(world()...))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var stream []byte
	const n = 20
	for i := range n {
		m := new(dns.Msg).SetQuestion("svc1.testns.svc.cluster.local.", dns.TypeA)
		m.Id = uint16(i)
		wire, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(wire))), wire...)
	}
	if _, err := conn.Write(stream); err != nil {
		t.Fatal(err)
	}
	co := &dns.Conn{Conn: conn}
	_ = co.SetReadDeadline(time.Now().Add(patience))
	for i := range n {
		reply, err := co.ReadMsg()
		if err != nil {
			t.Fatalf("reply %d: %v", i, err)
		}
		if reply.Id != uint16(i) || len(reply.Answer) != 1 {
			t.Errorf("reply %d: %v", i, reply)
		}
	}
}

// TestGreedyClients: those that take connections and give nothing do not keep others
// from being answered.
func TestGreedyClients(t *testing.T) {
	_, address := start(t, testConfig(world()...))
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	for range maxConnections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Skipf("%d connections: %v", len(conns), err)
		}
		conns = append(conns, conn)
		if _, err := conn.Write([]byte{0}); err != nil { // half a length, and no more
			t.Fatal(err)
		}
	}
	if reply := ask(t, "udp", address, "svc1.testns.svc.cluster.local.", dns.TypeA); len(reply.Answer) != 1 {
		t.Errorf("by UDP beside %d idle connections: %v", len(conns), reply)
	}
	extra, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	_ = extra.SetReadDeadline(time.Now().Add(patience))
	if _, err := extra.Read(make([]byte, 1)); isOpen(err) {
		t.Errorf("a connection beyond the limit was kept: %v", err)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	conns = nil
	eventually(t, "TCP is served again", func() bool {
		reply, _, err := (&dns.Client{Net: "tcp", Timeout: patience}).Exchange(new(dns.Msg).SetQuestion("svc1.testns.svc.cluster.local.", dns.TypeA), address)
		return err == nil && len(reply.Answer) == 1
	})
}

// TestOversizedQuery: a length that no query has ends the connection.
func TestOversizedQuery(t *testing.T) {
	_, address := start(t, testConfig(world()...))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{0xFF, 0xFF, 0, 0}); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); isOpen(err) {
		t.Errorf("the connection stays open: %v", err)
	}
}

// isOpen reports whether a read's outcome is that of a connection nobody has closed.
func isOpen(err error) bool { return err == nil || errors.Is(err, os.ErrDeadlineExceeded) }
