package proxy

import (
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	. "orrery.example.org/proxy/flowtest"
)

// Where the node's namespace allows it, conntrack is as patient as the Config says; what it
// does not allow is no reason to end (P35).
func TestP35Conntrack(t *testing.T) {
	w := NewWorld(t)
	read := func(name string) string {
		var text []byte
		err := w.Node.Do(func() (err error) {
			text, err = os.ReadFile("/proc/sys/net/netfilter/" + name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	before := read("nf_conntrack_tcp_timeout_close_wait")
	run(t, w.Node, fake.NewClientset(), func(c *Config) { c.ConntrackEstablished, c.ConntrackCloseWait = 12345*time.Second, 0 }).stop()
	if got := read("nf_conntrack_tcp_timeout_established"); got != "12345" {
		t.Errorf("established connections are forgotten after %s s", got)
	}
	if got := read("nf_conntrack_tcp_timeout_close_wait"); got != before {
		t.Errorf("0 is to leave %s alone, and it is %s", before, got)
	}
	run(t, w.Node, fake.NewClientset()).stop()
	if got := read("nf_conntrack_tcp_timeout_close_wait"); got != "3600" {
		t.Errorf("by default half-closed connections are forgotten after %s s", got)
	}
}

func TestP35ConntrackMax(t *testing.T) {
	for _, row := range []struct{ perCore, least, cores, want int }{
		{32768, 131072, 2, 131072}, {32768, 131072, 8, 262144}, {32768, 131072, 128, 1048576},
		{0, 0, 8, 0}, {0, 131072, 8, 131072},
	} {
		p := &Proxy{cfg: Config{ConntrackMaxPerCore: row.perCore, ConntrackMin: row.least}}
		if got := p.conntrackMax(row.cores); got != row.want {
			t.Errorf("%+v: %d", row, got)
		}
	}
}
