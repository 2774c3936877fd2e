package flowtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Flow is one row: a connection and what must become of it.
type Flow struct {
	From string // a place: a, b, c, node, outside
	To   string // address:port
	UDP  bool
	Want Outcome
	IPVS *Outcome // where ipvs differs
}

// Outcome is what becomes of a connection.
type Outcome struct {
	Endpoints string // the Pods that may answer, and all do in the long run: "ac"
	Refused   bool   // an error at once
	Source    source
}

type source uint8

const (
	anySource source = iota // it makes no difference, as for the node's own connections
	kept
	masqueraded
)

// Dropped is silence.
var Dropped = Outcome{}

// Refused is an error at once.
var Refused = Outcome{Refused: true}

// Kept is an answer of one of the Pods, which sees the client's own address.
func Kept(endpoints string) Outcome { return Outcome{Endpoints: endpoints, Source: kept} }

// Masqueraded is an answer of one of the Pods, which sees another address.
func Masqueraded(endpoints string) Outcome { return Outcome{Endpoints: endpoints, Source: masqueraded} }

// Served is an answer of one of the Pods.
func Served(endpoints string) Outcome { return Outcome{Endpoints: endpoints} }

// silence is how long to wait for a packet that must not come. Local namespaces answer
// within microseconds; a refusal is an answer too.
const silence = 250 * time.Millisecond

// patient is how long to wait for what must come, on a machine that is very busy.
const patient = 20 * time.Second

// enough connections to meet each of three endpoints, but for one chance in 10^9.
const enough = 60

// Check tries a flow.
func (w *World) Check(t *testing.T, f Flow) {
	t.Helper()
	seen := map[string]bool{}
	for range enough {
		patience := patient
		if f.Want == Dropped {
			patience = silence
		}
		name, source, err := w.Ask(f, patience)
		if f.Want.Endpoints == "" {
			if refused := errors.Is(err, syscall.ECONNREFUSED); err == nil || refused != f.Want.Refused {
				t.Errorf("%v: answered by %q, error %v, want %v", f, name, err, f.Want)
			}
			return
		}
		if err != nil || !strings.Contains(f.Want.Endpoints, name) {
			t.Errorf("%v: answered by %q, error %v, want %v", f, name, err, f.Want)
			return
		}
		if own := source == w.sourceOf(f); f.Want.Source == kept && !own || f.Want.Source == masqueraded && own {
			t.Errorf("%v: %s sees the source %s, want %v", f, name, source, f.Want)
			return
		}
		if seen[name] = true; len(seen) == len(f.Want.Endpoints) {
			return
		}
	}
	t.Errorf("%v: only %v answered, want all of %v", f, seen, f.Want)
}

// CheckAll tries flows at the same time.
func (w *World) CheckAll(t *testing.T, flows []Flow) {
	t.Helper()
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() { w.Check(t, f) })
	}
	wg.Wait()
}

// Connect makes one connection and tells which Pod answered and what source it saw.
func (w *World) Connect(f Flow) (name, source string, err error) { return w.Ask(f, silence) }

// Ask is Connect with a patience of its own.
func (w *World) Ask(f Flow, patience time.Duration) (name, source string, err error) {
	network := "tcp"
	if f.UDP {
		network = "udp"
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := w.places[f.From].Dial(ctx, network, f.To)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if f.UDP {
		if _, err := conn.Write([]byte("?")); err != nil {
			return "", "", err
		}
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil {
		return "", "", err
	}
	name, source, _ = strings.Cut(string(buf[:n]), " ")
	return name, source, nil
}

// Dial opens a connection from a place that the caller closes.
func (w *World) Dial(from, network, to string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	return w.places[from].Dial(ctx, network, to)
}

// sourceOf is the address that a flow's sender uses.
func (w *World) sourceOf(f Flow) string {
	own, found := Addrs[f.From]
	if !found {
		own = map[string]string{"node": NodeIP, "outside": OutsideIP}[f.From]
	}
	if netip.MustParseAddrPort(f.To).Addr().Is6() {
		return Six(netip.MustParseAddr(own)).String()
	}
	return own
}

func (f Flow) String() string {
	proto := "tcp"
	if f.UDP {
		proto = "udp"
	}
	return fmt.Sprintf("%s %s -> %s", proto, f.From, f.To)
}

func (o Outcome) String() string {
	switch {
	case o.Refused:
		return "refused"
	case o.Endpoints == "":
		return "dropped"
	}
	list := strings.Split(o.Endpoints, "")
	slices.Sort(list)
	return strings.Join(list, "|") + [...]string{"", ", source kept", ", masqueraded"}[o.Source]
}
