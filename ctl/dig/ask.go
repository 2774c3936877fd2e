package dig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Question is what a program asks its resolver for.
type Question struct {
	Name string
	Type uint16
}

// ParseQuestion checks a name and a type. An address in place of a name asks for the
// name that has it.
func ParseQuestion(name, qtype string) (q Question, err error) {
	q.Name, q.Type = name, dns.TypeA
	if qtype != "" {
		var ok bool
		if q.Type, ok = dns.StringToType[strings.ToUpper(qtype)]; !ok || q.Type == dns.TypeOPT || q.Type == dns.TypeAXFR || q.Type == dns.TypeIXFR {
			return q, fmt.Errorf("%q is no type that can be asked for: try A, AAAA, SRV, PTR, CNAME, TXT, NS or SOA", qtype)
		}
	}
	if net.ParseIP(name) != nil {
		if qtype != "" && q.Type != dns.TypePTR {
			return q, fmt.Errorf("%s is an address, which has PTR records only", name)
		}
		q.Type = dns.TypePTR
		q.Name, err = dns.ReverseAddr(name)
		return q, err
	}
	if _, ok := dns.IsDomainName(name); !ok || name == "" || strings.ContainsAny(name, " \t\n\\") {
		return q, fmt.Errorf("%q is not a domain name: labels of up to 63 letters, with dots between them", name)
	}
	return q, nil
}

// Result is everything that happened for a question.
type Result struct {
	From     string   `json:"from"`
	Resolver Resolver `json:"resolver"`
	Queries  []Query  `json:"queries"`
	Found    bool     `json:"found"`
}

// Query is one name that was tried, and the answer.
type Query struct {
	Name       string        `json:"name"`
	Type       string        `json:"type"`
	Server     string        `json:"server"`
	Status     string        `json:"status"` // a response code, or NODATA
	Took       time.Duration `json:"took"`   // nanoseconds
	TCP        bool          `json:"tcp,omitempty"`
	Answers    []Record      `json:"answers,omitempty"`
	Additional []Record      `json:"additional,omitempty"`
	// Reason is why there is no answer, as far as the server or the cluster's objects tell.
	Reason string `json:"reason,omitempty"`
}

// Record is one record of an answer.
type Record struct {
	Name string `json:"name"`
	TTL  uint32 `json:"ttl"`
	Type string `json:"type"`
	Data string `json:"data"`
	// Objects are those of the cluster that it was made of.
	Objects []string `json:"objects,omitempty"`
}

// Dial opens a connection to a server.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Run tries one name after the other until one has records of the type. Only that no
// server replies is an error: that there is no such name is an answer.
func Run(ctx context.Context, dial Dial, r Resolver, q Question, objects *Objects) (Result, error) {
	result := Result{Resolver: r}
	if len(r.Servers) == 0 {
		return result, errors.New("the resolv.conf names no server")
	}
	for _, name := range r.Names(q.Name) {
		query, reply, err := ask(ctx, dial, r.Servers, name, q.Type)
		if err != nil {
			return result, err
		}
		query.Answers, query.Additional = objects.records(reply.Answer, r), objects.records(reply.Extra, r)
		if query.Status != "NOERROR" {
			query.Reason = reasonOf(reply)
			if query.Reason == "" {
				query.Reason = objects.why(name, r.Domain())
			}
		}
		result.Queries = append(result.Queries, query)
		if query.Status == "NOERROR" {
			result.Found = true
			break
		}
	}
	return result, nil
}

// timeout is the C library's, for each server.
const timeout = 5 * time.Second

// ask asks the servers in their order until one replies.
func ask(ctx context.Context, dial Dial, servers []string, name string, qtype uint16) (Query, *dns.Msg, error) {
	query := Query{Name: name, Type: dns.TypeToString[qtype]}
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.SetEdns0(1232, false)
	var errs []error
	for _, query.Server = range servers {
		start := time.Now()
		reply, err := exchange(ctx, dial, "udp", query.Server, m)
		if err == nil && reply.Truncated {
			query.TCP = true
			reply, err = exchange(ctx, dial, "tcp", query.Server, m)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ask %s for %s: %w", query.Server, name, err))
			continue
		}
		query.Took, query.Status = time.Since(start), dns.RcodeToString[reply.Rcode]
		if reply.Rcode == dns.RcodeSuccess && !has(reply.Answer, qtype) {
			query.Status = "NODATA"
		}
		return query, reply, nil
	}
	return query, nil, errors.Join(errs...)
}

// has reports whether there is a record of a type among some.
func has(records []dns.RR, qtype uint16) bool {
	for _, rr := range records {
		if rr.Header().Rrtype == qtype || qtype == dns.TypeANY {
			return true
		}
	}
	return false
}

func exchange(ctx context.Context, dial Dial, network, server string, m *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := &dns.Client{Net: network, Timeout: timeout, UDPSize: 1232}
	reply, _, err := client.ExchangeWithConnContext(ctx, m, &dns.Conn{Conn: conn})
	return reply, err
}

// reasonOf is the server's own word (RFC 8914).
func reasonOf(reply *dns.Msg) string {
	if opt := reply.IsEdns0(); opt != nil {
		for _, option := range opt.Option {
			if ede, ok := option.(*dns.EDNS0_EDE); ok {
				return ede.ExtraText
			}
		}
	}
	return ""
}
