package ipvs

import (
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netlink"

	"orrery.example.org/proxy/plan"
)

// writer brings the kernel from one Model to another. The order keeps every moment sound:
// a virtual server with its real ones and what the rules have to know of it come before
// the address that leads to it, and in the end it is the other way round.
type writer struct {
	*Applier
	dev        netlink.Link
	have, want Model
	report     plan.Report
	err        error
}

// bring does it. between is done when all is there that should be, and before what should
// not be goes.
func (w *writer) bring(between func() error) error {
	for _, v := range slices.SortedFunc(maps.Keys(w.want.Servers), Virtual.compare) {
		w.serve(v)
	}
	for e := range missing(w.want.Entries, w.have.Entries) {
		w.do("ipset", func() error { return w.k.addEntry(e) })
	}
	for addr := range missing(w.want.Addresses, w.have.Addresses) {
		w.do("address", func() error { return w.k.bind(w.dev, addr) })
	}
	if w.err == nil {
		w.err = between()
	}
	for v, server := range w.have.Servers {
		if _, stays := w.want.Servers[v]; !stays {
			w.do("ipvs", func() error { return w.retire(v, established) })
		} else {
			w.release(v, server)
		}
	}
	for addr := range missing(w.have.Addresses, w.want.Addresses) {
		if !w.occupied(addr) {
			w.do("address", func() error { return w.k.unbind(w.dev, addr) })
		}
	}
	for e := range missing(w.have.Entries, w.want.Entries) {
		w.do("ipset", func() error { return w.k.removeEntry(e) })
	}
	return w.err
}

// do counts a step, and does nothing once one has failed.
func (w *writer) do(what string, step func() error) {
	if w.err == nil {
		w.report.Written[what]++
		w.report.Batches++
		w.err = step()
	}
}

// serve makes a virtual server right, but for real servers that should go.
func (w *writer) serve(v Virtual) {
	want := w.want.Servers[v]
	have, there := w.have.Servers[v]
	if w.retired[v] { // it comes back
		have, there = Server{}, true
		delete(w.retired, v)
	}
	if !there || !have.same(want) {
		put := w.k.ipvs.NewService
		if there {
			put = w.k.ipvs.UpdateService
		}
		w.do("ipvs", func() error {
			if err := put(w.k.service(v, want)); err != nil {
				return fmt.Errorf("virtual server %s %s with scheduler %s: %w", v.Protocol, v.Addr, want.Scheduler, err)
			}
			return nil
		})
	}
	for _, r := range want.Real {
		if !slices.Contains(have.Real, r) {
			w.do("ipvs", func() error { return w.stay(leaver{v, r}) })
		}
	}
}

// release lets real servers go that should.
func (w *writer) release(v Virtual, have Server) {
	var known []real
	for _, r := range have.Real {
		if slices.Contains(w.want.Servers[v].Real, r) {
			continue
		}
		w.do("ipvs", func() (err error) {
			if known == nil {
				if known, err = w.k.reals(v); err != nil {
					return err
				}
			}
			return w.leave(leaver{v, r}, known)
		})
	}
}

// total completes the report.
func (w *writer) total() plan.Report {
	w.report.Total = map[string]int{}
	if t := w.tally; t != nil {
		rules := w.cfg.Rules(w.local, w.noNode)
		for _, c := range rules.Chains {
			w.report.Total[string(c.Table)] += len(c.Rules)
		}
		w.report.Total["ipvs"], w.report.Total["ipset"] = len(t.servers), len(t.entries)
	}
	return w.report
}

// missing yields what is in the first of two sets only.
func missing[K comparable](first, second map[K]bool) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range first {
			if !second[k] && !yield(k) {
				return
			}
		}
	}
}

// difference says how two models differ.
func difference(have, want Model) []string {
	var all []string
	for v, server := range want.Servers {
		if got, there := have.Servers[v]; !there || !got.equal(server) {
			all = append(all, fmt.Sprintf("virtual server %v: there is %+v, there should be %+v", v, got, server))
		}
	}
	for v := range have.Servers {
		if _, stays := want.Servers[v]; !stays {
			all = append(all, fmt.Sprintf("virtual server %v should not be there", v))
		}
	}
	for e := range missing(want.Entries, have.Entries) {
		all = append(all, fmt.Sprintf("ipset %s lacks %s", e.Set, e))
	}
	for e := range missing(have.Entries, want.Entries) {
		all = append(all, fmt.Sprintf("ipset %s should not have %s", e.Set, e))
	}
	for a := range missing(want.Addresses, have.Addresses) {
		all = append(all, fmt.Sprintf("%s lacks %s", Device, a))
	}
	for a := range missing(have.Addresses, want.Addresses) {
		all = append(all, fmt.Sprintf("%s should not have %s", Device, a))
	}
	slices.Sort(all)
	return all
}
