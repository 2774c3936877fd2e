package dns

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestFloods: whatever arrives, and however much of it, names are answered afterwards and
// the memory it took is bounded.
func TestFloods(t *testing.T) {
	const n = 12_000
	random := rand.New(rand.NewPCG(1, 2))
	garbage := func(int) []byte {
		wire := make([]byte, random.IntN(600))
		for i := range wire {
			wire[i] = byte(random.Uint32())
		}
		return wire
	}
	query := packed(t, "svc1.testns.svc.cluster.local. A", 7)
	almost := func(i int) []byte { // queries with a byte or two that are wrong
		wire := bytes.Clone(query)
		for range 1 + i%2 {
			wire[random.IntN(len(wire))] = byte(random.Uint32())
		}
		return wire
	}
	names := func(domain string) func(int) []byte {
		wire := packed(t, "n00000000"+domain+" A", 7)
		return func(i int) []byte {
			copy(wire[headerSize+2:], fmt.Sprintf("%08d", i))
			return wire
		}
	}
	cfg := testConfig(world()...)
	cfg.Upstreams = []string{upstream(t)}
	_, address := start(t, cfg)
	// Each socket may keep 2 MB of replies to clients of IPv4, the cache 4 MB, and as much
	// again is under way. Unbounded, the 48,000 names would take 19 MB.
	limit := uint64(8<<20 + runtime.GOMAXPROCS(0)*2<<20)
	before := heap()
	for _, flood := range []struct {
		about   string
		message func(int) []byte
		replied bool
	}{
		{"garbage", garbage, false},
		{"almost queries", almost, false},
		{"names of endpoints", names(".svc1.testns.svc.cluster.local."), true},
		{"names of Services", names(".testns.svc.cluster.local."), true},
		{"names outside", names(".nowhere.test."), true},
		{"names outside by the search list", names(".nowhere.test.testns.svc.cluster.local."), true},
	} {
		pour(t, address, n, flood.message, flood.replied)
		eventually(t, "after "+flood.about+" a name is found", func() bool {
			reply, _, err := (&dns.Client{Timeout: 100 * time.Millisecond}).Exchange(new(dns.Msg).SetQuestion("svc1.testns.svc.cluster.local.", dns.TypeA), address)
			return err == nil && len(reply.Answer) == 1
		})
		eventually(t, "after "+flood.about+" the memory is within bounds", func() bool {
			now := heap()
			return now < before || now-before < limit
		})
	}
}

// pour sends messages, as many at once as a socket has room for, where each is replied to,
// else as fast as it can.
func pour(t *testing.T, address string, n int, message func(int) []byte, replied bool) {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const window = 32
	buf := make([]byte, maxQuery)
	for i := range n {
		_, _ = conn.Write(message(i)) // what does not fit is lost
		if !replied || i%window != window-1 {
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		for range window {
			if _, err := conn.Read(buf); err != nil {
				break
			}
		}
	}
}

// TestSlowClients: connections that send a byte and then nothing are not many goroutines
// and buffers, and do not keep UDP from being answered; TestGreedyClients counts them.
func TestSlowClients(t *testing.T) {
	_, address := start(t, testConfig(world()...))
	before, goroutines := heap(), runtime.NumGoroutine()
	for range 200 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte{0, 40, 7}); err != nil { // the length, and one byte
			t.Fatal(err)
		}
	}
	eventually(t, "they are all served", func() bool { return runtime.NumGoroutine() >= goroutines+200 })
	if now := heap(); now > before+200*16<<10 {
		t.Errorf("200 slow connections take %d KB", (now-before)>>10)
	}
	for _, proto := range []string{"udp", "tcp"} {
		if reply := ask(t, proto, address, "svc1.testns.svc.cluster.local.", dns.TypeA); len(reply.Answer) != 1 {
			t.Errorf("by %s beside them: %v", proto, reply)
		}
	}
}
