package flowtest

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"testing"
	"time"
)

// testSCTP sends the first packet of an association. It goes through raw sockets: whether
// a kernel has SCTP sockets is no matter of the data plane, which only needs conntrack to
// know the protocol.
func testSCTP(t *testing.T, p Plane) {
	w := NewWorld(t)
	tcp := Planned(Service("ns1", "svc1", vip), Port, Pods("a")...)
	sctp := Planned(Service("ns1", "svc2", vip, Protocol("SCTP")), Port, Pods("c")...)
	p.Start(t, w.Node, Knobs{}).Sync(t, Snapshot(tcp, sctp))
	ctx := context.Background()
	pod, err := w.places["c"].ListenPacket(ctx, "ip4:132", "0.0.0.0", false)
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	client, err := w.places["b"].ListenPacket(ctx, "ip4:132", "0.0.0.0", false)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	to := netip.MustParseAddrPort(svcAddr)
	if _, err := client.WriteTo(sctpInit(40000, to.Port()), &net.IPAddr{IP: to.Addr().AsSlice()}); err != nil {
		t.Fatal(err)
	}
	_ = pod.SetDeadline(time.Now().Add(patient))
	buf := make([]byte, 1500)
	n, from, err := pod.ReadFrom(buf)
	if err != nil {
		t.Fatalf("the endpoint got nothing: %v", err)
	}
	if port := binary.BigEndian.Uint16(buf[2:]); n < 12 || port != Port || from.String() != Addrs["b"] {
		t.Errorf("the endpoint got %d bytes from %s for port %d, want %s and %d", n, from, port, Addrs["b"], Port)
	}
}

// sctpInit is an SCTP packet with an INIT chunk (RFC 9260, 3.1 and 3.3.2).
func sctpInit(from, to uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)       // verification tag, none yet, and checksum
	b = append(b, 1, 0, 0, 20)                  // INIT, of 20 bytes
	b = binary.BigEndian.AppendUint32(b, 4711)  // the tag to come
	b = binary.BigEndian.AppendUint32(b, 65536) // receiver's window
	b = append(b, 0, 1, 0, 1)                   // streams out and in
	b = binary.BigEndian.AppendUint32(b, 1)     // first sequence number
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(b[8:], sum)
	return b
}
