package flowtest

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// Ping is what becomes of an ICMP echo request.
type Ping string

// Services have ports and a ping has none, so what it gets is a matter of the plane.
const (
	Lost        Ping = "lost" // on its way to nowhere
	Unreachable Ping = "unreachable"
	Answered    Ping = "answered"
)

// Ping sends one from a place. Where want is an answer of any kind it waits for that.
func (w *World) Ping(t *testing.T, from, to string, want Ping) Ping {
	t.Helper()
	conn, err := w.places[from].ListenPacket(context.Background(), "ip4:icmp", "0.0.0.0", false)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 4711, Seq: 1, Data: []byte("orrery")}}
	text, err := echo.Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteTo(text, &net.IPAddr{IP: net.ParseIP(to)}); err != nil {
		t.Fatal(err)
	}
	patience := patient
	if want == Lost {
		patience = silence
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	for buf := make([]byte, 1500); ; {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return Lost
		}
		m, err := icmp.ParseMessage(1, buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		switch m.Type {
		case ipv4.ICMPTypeEchoReply:
			return Answered
		case ipv4.ICMPTypeDestinationUnreachable:
			return Unreachable
		}
	}
}
