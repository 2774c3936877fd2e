package dig

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Text is a result as people read it.
func (r Result) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s asks %s", r.From, strings.Join(trimPorts(r.Resolver.Servers), ", "))
	if len(r.Resolver.Search) > 0 {
		fmt.Fprintf(&b, "; search %s; ndots %d", strings.Join(r.Resolver.Search, " "), r.Resolver.Ndots)
	}
	b.WriteString("\n")
	for i, q := range r.Queries {
		tcp := ""
		if q.TCP {
			tcp = " by TCP, since it is too long for UDP"
		}
		fmt.Fprintf(&b, "\n%d. %s %s: %s%s (%v)\n", i+1, q.Name, q.Type, q.Status, tcp, q.Took.Round(10*time.Microsecond))
		if q.Reason != "" {
			fmt.Fprintf(&b, "   %s\n", q.Reason)
		}
		writeRecords(&b, "", q.Answers)
		writeRecords(&b, "additional:", q.Additional)
	}
	if !r.Found {
		tried := "it was the only name to try"
		if n := len(r.Queries); n > 1 {
			tried = fmt.Sprintf("all %d names were tried", n)
		}
		fmt.Fprintf(&b, "\nNot found: %s.\n", tried)
	}
	return b.String()
}

// writeRecords lists records in columns.
func writeRecords(b *strings.Builder, title string, records []Record) {
	if len(records) == 0 {
		return
	}
	if title != "" {
		fmt.Fprintf(b, "   %s\n", title)
	}
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	for _, r := range records {
		from := ""
		if len(r.Objects) > 0 {
			from = "\t<- " + strings.Join(r.Objects, ", ")
		}
		fmt.Fprintf(w, "   %s\t%d\t%s\t%s%s\n", r.Name, r.TTL, r.Type, r.Data, from)
	}
	_ = w.Flush() // into memory
}

// trimPorts leaves out the port that every DNS server has.
func trimPorts(servers []string) (short []string) {
	for _, s := range servers {
		short = append(short, strings.Trim(strings.TrimSuffix(s, ":53"), "[]"))
	}
	return short
}
