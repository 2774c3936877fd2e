package dnsdiff

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

// scenario is a cluster and a configuration.
type scenario struct {
	name    string
	kubeDNS bool // the server is an endpoint of a Service
	forward bool // names outside the cluster go to an upstream
	pods    string
	client  string // the Namespace that we ask from as a Pod, with autopath
}

var scenarios = []scenario{
	{name: "as kubeadm configures it", kubeDNS: true, forward: true, pods: "insecure"},
	{name: "without a world outside", kubeDNS: true, pods: "verified"},
	{name: "without a Service of its own", pods: "disabled"},
	{name: "with autopath", forward: true, pods: "verified", client: "shop"},
}

// TestSameAnswers asks both servers everything and explains every difference.
func TestSameAnswers(t *testing.T) {
	asked, explained := 0, make([]int, len(differences))
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			c := newCluster(t)
			fill(t, c, sc.kubeDNS)
			s := settings{pods: sc.pods, autopath: sc.client != ""}
			if sc.client != "" { // CoreDNS looks for the Pod that has the client's address
				c.pod(t, sc.client+"/client", "127.0.0.1", corev1.PodRunning)
			}
			if sc.forward {
				s.upstream = startUpstream(t)
			}
			theirs, ours := newAsker(t, startCoreDNS(t, c, s)), newAsker(t, startOurs(t, c, s))
			questions := c.questions()
			if sc.client != "" {
				questions = searches(sc.client)
			}
			for _, q := range questions {
				asked++
				want, got := theirs.ask(t, q), ours.ask(t, q)
				if want.String() == got.String() {
					continue
				}
				if i := explain(sc, q, want, got); i >= 0 {
					explained[i]++
				} else {
					t.Errorf("%s\nCoreDNS: %s\nours:    %s", q, want, got)
				}
			}
		})
	}
	t.Logf("%d questions", asked)
	for i, d := range differences {
		t.Logf("%5d times: %s", explained[i], d.reason)
		if explained[i] == 0 && !t.Failed() {
			t.Errorf("a difference that there is no longer: %s", d.reason)
		}
	}
}

// explain finds the difference that two replies are an example of, or -1.
func explain(sc scenario, q question, theirs, ours reply) int {
	return slices.IndexFunc(differences, func(d difference) bool { return d.applies(sc, q, theirs, ours) })
}

// asker asks one server, over connections that it keeps.
type asker struct {
	address string
	conns   map[bool]*miekg.Conn // by whether it is TCP
}

func newAsker(t testing.TB, address string) *asker {
	a := &asker{address: address, conns: map[bool]*miekg.Conn{}}
	t.Cleanup(func() {
		for _, conn := range a.conns {
			_ = conn.Close()
		}
	})
	return a
}

// ask sends a question and waits for the reply. A server may close a TCP connection on
// which it was asked often enough; then there is another.
func (a *asker) ask(t testing.TB, q question) reply {
	t.Helper()
	query := q.message()
	for attempt := 0; ; attempt++ {
		m, err := a.exchange(q.tcp, query)
		if err == nil {
			return newReply(m)
		}
		if attempt == 2 {
			t.Fatalf("ask %s for %s: %v", a.address, q, err)
		}
		if conn := a.conns[q.tcp]; conn != nil {
			_ = conn.Close()
			delete(a.conns, q.tcp)
		}
	}
}

// knows reports whether a name has an address.
func (a *asker) knows(name string) bool {
	m, err := a.once(name)
	return err == nil && len(m.Answer) > 0
}

// once asks for an address over a connection of its own.
func (a *asker) once(name string) (*miekg.Msg, error) {
	a.conns = map[bool]*miekg.Conn{}
	m, err := a.exchange(false, question{name: name, qtype: miekg.TypeA, class: miekg.ClassINET}.message())
	if conn := a.conns[false]; conn != nil {
		_ = conn.Close()
	}
	return m, err
}

func (a *asker) exchange(tcp bool, query *miekg.Msg) (*miekg.Msg, error) {
	conn := a.conns[tcp]
	if conn == nil {
		proto := map[bool]string{false: "udp", true: "tcp"}[tcp]
		raw, err := net.Dial(proto, a.address)
		if err != nil {
			return nil, err
		}
		conn = &miekg.Conn{Conn: raw, UDPSize: miekg.MaxMsgSize}
		a.conns[tcp] = conn
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	if err := conn.WriteMsg(query); err != nil {
		return nil, err
	}
	for {
		m, err := conn.ReadMsg()
		if err != nil || m.Id == query.Id {
			return m, err
		}
	}
}

// reply is what of a message must be the same. The order of records is not: the servers
// shuffle. The serial of a zone is the time when something changed.
type reply struct {
	rcode     int
	flags     string
	question  string
	answer    []string
	authority []string
	extra     []string
	opt       string
}

func newReply(m *miekg.Msg) reply {
	r := reply{rcode: m.Rcode}
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"aa", m.Authoritative}, {"tc", m.Truncated}, {"rd", m.RecursionDesired},
		{"ra", m.RecursionAvailable}, {"ad", m.AuthenticatedData}, {"cd", m.CheckingDisabled},
	} {
		if flag.set {
			r.flags += " " + flag.name
		}
	}
	for _, q := range m.Question {
		r.question += fmt.Sprint(q.Name, q.Qclass, q.Qtype)
	}
	r.answer, r.authority = set(m.Answer), set(m.Ns)
	opt := m.IsEdns0()
	r.extra = set(slices.DeleteFunc(m.Extra, func(rr miekg.RR) bool { return rr == miekg.RR(opt) }))
	if opt != nil {
		r.opt = fmt.Sprintf("version %d size %d do %v options %v", opt.Version(), opt.UDPSize(), opt.Do(), opt.Option)
	}
	if m.Truncated { // which records are left is chance; how many is not, where all are of one size
		if m.Question[0].Qtype == miekg.TypeA {
			r.answer = []string{fmt.Sprintf("%d records", len(r.answer))}
		} else {
			r.answer = []string{"some records"}
		}
		r.extra = nil
	}
	return r
}

func (r reply) String() string {
	return fmt.Sprintf("%s,%s; question %s; answer %v; authority %v; additional %v; EDNS %s", miekg.RcodeToString[r.rcode],
		r.flags, r.question, r.answer, r.authority, r.extra, r.opt)
}

// set is a section, in an order that depends on nothing but its records.
func set(records []miekg.RR) (lines []string) {
	for _, rr := range records {
		if soa, ok := rr.(*miekg.SOA); ok {
			soa.Serial = 0
		}
		lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
	}
	slices.Sort(lines)
	return lines
}
