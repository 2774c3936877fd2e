package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// errTooBig is a transaction that did not fit into the socket's send buffer.
var errTooBig = errors.New("too much for one transaction")

// programs runs the iptables family of programs in the node's place.
type programs struct {
	host    *host.Host
	family  plan.Family
	variant string // "", "nft" or "legacy"
}

// name is a program's name: iptables-restore, ip6tables-nft-save, …
func (p programs) name(suffix string) string {
	name := "iptables"
	if p.family == plan.IPv6 {
		name = "ip6tables"
	}
	if p.variant != "" {
		name += "-" + p.variant
	}
	return name + suffix
}

// restore feeds rules to iptables-restore. What the input does not mention stays.
func (p programs) restore(ctx context.Context, input []byte) error {
	// -w waits for the lock that all users of the legacy variant share.
	err := p.run(ctx, input, nil, p.name("-restore"), "-w", "5", "--noflush", "--counters")
	if err != nil {
		return fmt.Errorf("%w%s", err, lineOf(input, err.Error()))
	}
	return nil
}

// save writes all rules of all tables to out.
func (p programs) save(ctx context.Context, out io.Writer) error {
	return p.run(ctx, nil, out, p.name("-save"))
}

func (p programs) run(ctx context.Context, stdin []byte, stdout io.Writer, name string, args ...string) error {
	cmd := p.host.Command(ctx, name, args...)
	if errors.Is(cmd.Err, fs.ErrNotExist) {
		return missing(cmd.Err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Stdout = stdout
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if bytes.Contains(stderr.Bytes(), []byte("Message too long")) {
		err = errTooBig
	}
	return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
}

func missing(err error) error {
	return fmt.Errorf("%w; on Debian and Ubuntu it is in the package iptables (apt install iptables)", err)
}

var lineNumber = regexp.MustCompile(`line:? (\d+)`)

// lineOf quotes the line of the input that an error message points at.
func lineOf(input []byte, message string) string {
	m := lineNumber.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	n, _ := strconv.Atoi(m[1])
	lines := bytes.Split(input, []byte{'\n'})
	if n < 1 || n > len(lines) {
		return ""
	}
	return fmt.Sprintf(": %q", lines[n-1])
}

// detected is what an iptables program can do.
type detected struct {
	ipt         *goiptables.IPTables
	randomFully bool
	nft         bool // it speaks to nf_tables, not to the old x_tables
}

// detect asks the program for its version.
func (p programs) detect(ctx context.Context) (detected, error) {
	var d detected
	path, err := host.LookPath(p.name(""))
	if err != nil {
		return d, missing(err)
	}
	var version bytes.Buffer
	if err := p.run(ctx, nil, &version, p.name(""), "--version"); err != nil {
		return d, err
	}
	d.nft = strings.Contains(version.String(), "nf_tables")
	protocol := goiptables.ProtocolIPv4
	if p.family == plan.IPv6 {
		protocol = goiptables.ProtocolIPv6
	}
	err = p.host.Do(func() error { // what it executes belongs where its thread is
		d.ipt, err = goiptables.New(goiptables.IPFamily(protocol), goiptables.Path(path), goiptables.Timeout(5))
		return err
	})
	if err != nil {
		return d, fmt.Errorf("detect iptables: %w", err)
	}
	d.randomFully = d.ipt.HasRandomFully()
	return d, nil
}

// privileged tells whether the process is root outside of any user namespace, which
// decides how large a netlink transaction may be.
func privileged() bool {
	uidMap, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(uidMap))
	return err == nil && os.Geteuid() == 0 && len(fields) == 3 && fields[0] == "0" && fields[1] == "0" && len(fields[2]) >= 10
}

// liberal tells whether conntrack accepts packets out of its window, so that dropping
// what it calls invalid would only do harm (P33).
func liberal(h *host.Host) bool {
	yes := false
	_ = h.Do(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
		yes = err == nil && strings.TrimSpace(string(text)) != "0"
		return err
	})
	return yes
}
