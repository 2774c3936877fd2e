package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// How many bytes a transaction may have. More would not be faster, and would not fit
// into the send buffer of a socket in a user namespace.
const (
	bytesPerTransaction = 150_000
	bytesLeast          = 4_000
)

// unsigned is the fingerprint of no rules that there can be.
const unsigned = 0

// Config is what an Applier needs to know.
type Config struct {
	Host     *host.Host // the node's network namespace
	Log      *slog.Logger
	Settings // Local is part of each snapshot
}

// Applier keeps one family's rules in the kernel. Its methods are not safe for
// concurrent use; the sync loop is its only caller.
type Applier struct {
	settings Settings
	host     *host.Host
	log      *slog.Logger
	limit    int     // bytes in a transaction; learnt by failing
	k        *kernel // nil: closed

	// What the kernel holds, as far as this Applier made it.
	model       *model
	text        string
	shapes      map[string]bool
	total       int    // elements
	fingerprint uint64 // of the rules, or unsigned
	generation  uint32 // 0: somebody else was there meanwhile
}

// New makes an Applier for one network namespace. Nothing runs yet.
func New(cfg Config) *Applier {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Applier{settings: cfg.Settings, host: cfg.Host, log: cfg.Log, limit: bytesPerTransaction}
}

// Start finds out whether the machine has what it takes. Nothing is programmed yet.
func (a *Applier) Start(context.Context) error {
	if _, err := host.LookPath("nft"); err != nil {
		return fmt.Errorf("%w; on Debian and Ubuntu it is in the package nftables (apt install nftables)", err)
	}
	k, err := a.connect()
	if err != nil {
		return err
	}
	_, err = k.generation()
	return err
}

// connect opens the socket that Close closes, unless it is open. It is kept: the kernel
// takes some 10 ms to close one that has deleted something.
func (a *Applier) connect() (*kernel, error) {
	if a.k == nil {
		k, err := dial(a.host, a.settings.Family)
		if err != nil {
			return nil, err
		}
		a.k = k
	}
	return a.k, a.k.hurry()
}

// Close closes the connection to the kernel. The rules stay. The next call of another
// method opens it anew.
func (a *Applier) Close() error {
	if a.k != nil {
		a.k.close()
		a.k = nil
	}
	return nil
}

// Full makes the kernel hold exactly the rules of a snapshot. It reads what is there
// first and writes the difference, so it is also the repair of whatever others did, and
// costs established Services nothing.
func (a *Applier) Full(ctx context.Context, s plan.Snapshot) (plan.Report, error) {
	nodeIPs := s.NodePortIPs
	if nodeIPs == nil {
		var err error
		if nodeIPs, err = addresses(a.host, a.settings.Family); err != nil {
			return plan.Report{}, err
		}
	}
	a.settings.Local = s.Local
	m := newModel(nodeIPs)
	for _, svc := range s.Services {
		m.add(svc)
	}
	want := m.all()
	for {
		report, err := a.session(ctx, func(w *session) error { return w.full(ctx, m, want) })
		if !a.smaller(err) {
			return report, err
		}
	}
}

// Change moves some Services from one plan to the next. It trusts that the kernel holds
// the old ones; where it does not, it fails, and a Full is due.
func (a *Applier) Change(ctx context.Context, changes []plan.Change) (plan.Report, error) {
	if a.model == nil {
		return plan.Report{}, errors.New("nftables: a change before the first full sync")
	}
	before, after := a.model.move(changes)
	report, err := a.session(ctx, func(w *session) error { return w.change(ctx, before, after) })
	a.smaller(err)
	return report, err
}

// smaller halves the transactions after a failure for their size, and tells whether a
// new attempt makes sense.
func (a *Applier) smaller(err error) bool {
	if !errors.Is(err, unix.EMSGSIZE) || a.limit/2 < bytesLeast {
		return false
	}
	a.limit /= 2
	a.log.Info("the kernel takes only smaller transactions", "bytes", a.limit)
	return true
}

// Intact tells whether the kernel still holds what this Applier has put there. Where
// nobody has changed any rules since, the generation number tells at once; otherwise
// all is read and compared.
func (a *Applier) Intact(ctx context.Context) (bool, error) {
	if a.model == nil {
		return false, nil
	}
	var intact bool
	_, err := a.session(ctx, func(w *session) (err error) {
		intact, err = w.intact()
		return err
	})
	return intact && err == nil, err
}

// Check compares the kernel with a snapshot and returns what differs: nothing, if it is
// as it should be. An Applier that has put no rules there compares Services alone. While the kernel gives a large map more buckets, in the background, a
// list of it may lack some of its elements; so what differs is looked at again.
func (a *Applier) Check(_ context.Context, s plan.Snapshot) ([]string, error) {
	const looks, pause = 5, 50 * time.Millisecond
	for look := 1; ; look++ {
		differences, err := a.compare(s)
		if err != nil || len(differences) == 0 || look == looks {
			return differences, err
		}
		time.Sleep(pause)
	}
}

// compare is one look at the kernel.
func (a *Applier) compare(s plan.Snapshot) ([]string, error) {
	k, err := a.connect()
	if err != nil {
		return nil, err
	}
	have, err := k.read()
	if err != nil {
		return nil, err
	}
	m := newModel(s.NodePortIPs)
	if s.NodePortIPs == nil {
		if m.nodeIPs, err = addresses(a.host, a.settings.Family); err != nil {
			return nil, err
		}
	}
	for _, svc := range s.Services {
		m.add(svc)
	}
	var differences []string
	for _, g := range difference(have.elements, m.all(), a.keyLen()) {
		for _, o := range g {
			differences = append(differences, fmt.Sprintf("%s: %x is %q, should be %q", o.slot.Set, o.slot.Key, have.elements[o.slot], o.value))
		}
	}
	print, err := k.fingerprint()
	if err == nil && print != a.fingerprint && a.model != nil {
		differences = append(differences, "the rules are not those that were put there")
	}
	return differences, err
}

// Cleanup removes the table from the network namespace, whoever put it there. Where
// there is none, nothing happens.
func (a *Applier) Cleanup(context.Context) error {
	k, err := a.connect()
	if err != nil {
		return err
	}
	defer func() { _ = a.Close() }()
	a.model, a.text, a.generation = nil, "", 0
	return k.deleteTable()
}

// CleanupAll removes the tables of both families.
func CleanupAll(ctx context.Context, h *host.Host) error {
	var errs []error
	for _, family := range []plan.Family{plan.IPv4, plan.IPv6} {
		errs = append(errs, New(Config{Host: h, Settings: Settings{Family: family}}).Cleanup(ctx))
	}
	return errors.Join(errs...)
}

// keyLen is the length of the key of an address.
func (a *Applier) keyLen() int {
	if a.settings.ipv6() {
		return 24
	}
	return 12
}

// run feeds text to the program nft, which makes it one transaction.
func (a *Applier) run(ctx context.Context, text string) error {
	cmd := a.host.Command(ctx, "nft", "-f", "-")
	if errors.Is(cmd.Err, fs.ErrNotExist) {
		return cmd.Err
	}
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(text), &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nft -f: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}

// addresses are those of a place on which NodePorts answer where nothing else is said:
// all but loopback and link-local ones (P31, P32).
func addresses(h *host.Host, family plan.Family) ([]netip.Addr, error) {
	links, err := h.Links()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	inet := unix.AF_INET
	if family == plan.IPv6 {
		inet = unix.AF_INET6
	}
	all, err := links.AddrList(nil, inet)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	ips := []netip.Addr{}
	for _, a := range all {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); ok && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !slices.Contains(ips, ip) {
			ips = append(ips, ip)
		}
	}
	return ips, nil
}
