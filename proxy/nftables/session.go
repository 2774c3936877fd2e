package nftables

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"orrery.example.org/proxy/plan"
)

// session is one sync: a connection to the kernel, and an account of what was done.
type session struct {
	*Applier
	k       *kernel
	start   uint32 // the generation of the rules when it began
	commits uint32 // transactions of our own since
	written int    // elements
	known   bool   // what was in the kernel at the start
}

// session runs f with a connection. If the generation has moved by our own transactions
// only, and it was known what there was before, then it is known what there is now.
func (a *Applier) session(ctx context.Context, f func(*session) error) (plan.Report, error) {
	k, err := a.connect()
	if err != nil {
		return plan.Report{}, err
	}
	w := &session{Applier: a, k: k}
	if w.start, err = k.generation(); err != nil {
		_ = a.Close()
		return plan.Report{}, err
	}
	w.known = w.start == a.generation
	a.generation = 0
	if err = f(w); err == nil {
		var end uint32
		if end, err = k.generation(); w.known && end == w.start+w.commits {
			a.generation = end
		}
	}
	if err != nil {
		_ = a.Close() // answers may be left in the socket
	}
	return plan.Report{
		Written: map[string]int{"elements": w.written}, Total: map[string]int{"elements": a.total},
		Batches: int(w.commits),
	}, err
}

// full reads what there is and writes what differs from the model.
func (w *session) full(ctx context.Context, m *model, want Elements) error {
	have, err := w.k.read()
	if err != nil {
		return err
	}
	needed := shapes(want)
	if have, err = w.rules(ctx, have, needed); err != nil {
		return err
	}
	if err := w.write(have.elements, want); err != nil {
		return err
	}
	w.model, w.total, w.known = m, len(want), true
	if err := w.forget(moved(have.elements, want)); err != nil {
		return err
	}
	return w.removeShapes(ctx, have.chains, needed)
}

// change writes the difference between two states of a part of the model.
func (w *session) change(ctx context.Context, before, after Elements) error {
	if err := w.addShapes(ctx, shapes(after)); err != nil {
		return err
	}
	if err := w.write(before, after); err != nil {
		return err
	}
	w.total += len(after) - len(before)
	affinity := func(e Elements) bool {
		for slot := range e {
			if slot.Set == mapTimeouts {
				return true
			}
		}
		return false
	}
	if affinity(before) || affinity(after) {
		return w.forget(moved(before, after))
	}
	return nil
}

// intact compares what there is with the model.
func (w *session) intact() (bool, error) {
	if w.known {
		return true, nil
	}
	print, err := w.k.fingerprint()
	if err != nil || print != w.fingerprint {
		return false, err
	}
	have, err := w.k.read()
	if err != nil || foreign(have) {
		return false, err
	}
	strange := func(chain string) bool { return isShape(chain) && !w.shapes[chain] }
	w.known = maps.Equal(have.elements, w.model.all()) && !slices.ContainsFunc(have.chains, strange)
	return w.known, nil
}

// rules makes sure of the text and of the shapes that elements need. A table that holds
// what is not ours, or does not take the rules, is made anew, in one transaction: without
// any table of ours the kernel would stop translating established connections.
func (w *session) rules(ctx context.Context, have contents, needed map[string]bool) (contents, error) {
	print, err := w.k.fingerprint()
	if err != nil {
		return have, err
	}
	text, alien := w.settings.Text(), foreign(have)
	if len(have.chains) > 0 && !alien && print == w.fingerprint && text == w.text {
		return have, w.addShapes(ctx, needed)
	}
	chains := slices.Sorted(maps.Keys(needed))
	why := errors.New("it holds what is not ours")
	if !alien {
		why = w.make(ctx, text, chains)
	}
	if why != nil {
		if ctx.Err() != nil {
			return have, why
		}
		if err := w.make(ctx, w.settings.Anew()+text, chains); err != nil {
			return have, errors.Join(why, err)
		}
		w.log.Info("the table was made anew", "table", TableName, "why", why)
		have = contents{}
	}
	w.text, w.shapes = text, maps.Clone(needed)
	return have, w.sign()
}

// sign notes what the rules look like, by which a later look at them tells whether they
// are still ours. If somebody else has been there since this session began, they may not
// be even now, and the next full sync writes them again.
func (w *session) sign() error {
	print, err := w.k.fingerprint()
	if err != nil {
		return err
	}
	now, err := w.k.generation()
	if now != w.start+w.commits {
		print = unsigned
	}
	w.fingerprint = print
	return err
}

// addShapes makes the chains and maps that are needed and not there yet.
func (w *session) addShapes(ctx context.Context, needed map[string]bool) error {
	missing := maps.Clone(needed)
	maps.DeleteFunc(missing, func(chain string, _ bool) bool { return w.shapes[chain] })
	if len(missing) == 0 {
		return nil
	}
	if err := w.make(ctx, "", slices.Sorted(maps.Keys(missing))); err != nil {
		return err
	}
	maps.Copy(w.shapes, missing)
	return w.sign()
}

// make runs a text together with what makes some shapes.
func (w *session) make(ctx context.Context, text string, chains []string) error {
	rules := map[string][]expr.Any{}
	for _, chain := range chains {
		text += w.settings.Shape(chain)
		if rule := w.settings.ruleOf(chain); rule != nil {
			rules[chain] = rule
		}
	}
	if err := w.nft(ctx, text); err != nil || len(rules) == 0 {
		return err
	}
	if err := w.k.setRules(rules); err != nil {
		return err
	}
	w.commits++
	return nil
}

// removeShapes removes the chains and maps that no element leads to any more.
func (w *session) removeShapes(ctx context.Context, chains []string, needed map[string]bool) error {
	stale := map[string]bool{}
	for _, chain := range slices.Concat(chains, slices.Collect(maps.Keys(w.shapes))) {
		stale[chain] = isShape(chain) && !needed[chain]
	}
	var text string
	for _, chain := range slices.Sorted(maps.Keys(stale)) {
		if stale[chain] {
			text += w.settings.removal(chain)
		}
	}
	if text == "" {
		return nil
	}
	if err := w.nft(ctx, text); err != nil {
		return err
	}
	w.shapes = maps.Clone(needed)
	return w.sign()
}

// write brings elements from one state to another.
func (w *session) write(have, want Elements) error {
	return transactions(difference(have, want, w.keyLen()), w.limit, w.commit)
}

func (w *session) commit(ops []op) error {
	if err := w.k.commit(ops); err != nil {
		return err
	}
	w.commits++
	w.written += len(ops)
	return nil
}

func (w *session) nft(ctx context.Context, text string) error {
	if err := w.run(ctx, text); err != nil {
		return err
	}
	w.commits++
	return nil
}

// forget removes what the kernel remembers of clients whose endpoint does not serve
// them any more. An entry may expire on its own meanwhile, which fails the transaction.
func (w *session) forget(moved map[string]bool) error {
	for attempt := 0; ; attempt++ {
		clients, err := w.k.clients()
		if err != nil {
			return err
		}
		err = transactions([][]op{w.model.stale(clients, moved)}, w.limit, w.commit)
		if attempt == 5 || !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
}
