package iptables

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	. "orrery.example.org/proxy/flowtest"
)

// Where the policy of FORWARD is DROP, what the proxy has marked passes, and the answers;
// what it has not marked is the owner's to allow.
func TestP34ForwardPolicy(t *testing.T) {
	for _, p := range planes() {
		t.Run(p.Name, func(t *testing.T) {
			p.Have(t)
			w := NewWorld(t)
			p.Start(t, w.Node, Knobs{}).Sync(t, Snapshot(Planned(Service("ns1", "svc1", "10.96.0.41"), Port, Pods("c")...)))
			Run(t, w.Node, p.Program+" -P FORWARD DROP")
			w.Check(t, Flow{From: "outside", To: "10.96.0.41:80", Want: Masqueraded("c")})
			w.Check(t, Flow{From: "b", To: "10.96.0.41:80", Want: Dropped})
			Run(t, w.Node, p.Program+" -A FORWARD -i cni0 -j ACCEPT")
			w.Check(t, Flow{From: "b", To: "10.96.0.41:80", Want: Kept("c")})
		})
	}
}

// A packet that conntrack cannot place, here a reset of no connection, does not pass the
// node, unless the kernel is liberal.
func TestP33Invalid(t *testing.T) {
	for _, p := range planes() {
		t.Run(p.Name, func(t *testing.T) {
			p.Have(t)
			w := NewWorld(t)
			for _, liberal := range []string{"1", "0"} {
				err := w.Node.Do(func() error {
					return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", []byte(liberal), 0)
				})
				if err != nil {
					t.Fatal(err)
				}
				p.Start(t, w.Node, Knobs{}).Sync(t, Snapshot())
				if passed := resetPasses(t, w, liberal == "1"); passed != (liberal == "1") {
					t.Errorf("liberal %s: passed %v", liberal, passed)
				}
			}
		})
	}
}

// resetPasses sends a TCP reset from Pod b to Pod c by raw sockets, and tells whether it
// arrives. What must come is waited for.
func resetPasses(t *testing.T, w *World, must bool) bool {
	t.Helper()
	var ends []net.PacketConn
	for _, pod := range []string{"b", "c"} {
		conn, err := w.Place(pod).ListenPacket(context.Background(), "ip4:tcp", "0.0.0.0", false)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ends = append(ends, conn)
	}
	from, to := netip.MustParseAddr(Addrs["b"]), netip.MustParseAddr(Addrs["c"])
	if _, err := ends[0].WriteTo(tcpReset(from, to), &net.IPAddr{IP: to.AsSlice()}); err != nil {
		t.Fatal(err)
	}
	patience := 250 * time.Millisecond
	if must {
		patience = 20 * time.Second
	}
	_ = ends[1].SetDeadline(time.Now().Add(patience))
	_, _, err := ends[1].ReadFrom(make([]byte, 1500))
	return err == nil
}

// tcpReset is a TCP segment with RST (RFC 9293, 3.1), with the checksum of its addresses.
func tcpReset(from, to netip.Addr) []byte {
	segment := binary.BigEndian.AppendUint16(nil, 40000)
	segment = binary.BigEndian.AppendUint16(segment, Port)
	segment = append(segment, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 0x04, 0, 0, 0, 0, 0, 0)
	src, dst := from.As4(), to.As4()
	pseudo := append(append(append([]byte{}, src[:]...), dst[:]...), 0, 6, 0, byte(len(segment)))
	var sum uint32
	for b := append(pseudo, segment...); len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(segment[16:], ^uint16(sum))
	return segment
}
