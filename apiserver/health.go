package apiserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"context"

	"github.com/gorilla/mux"
)

// check is one question of a health endpoint.
type check struct {
	name string
	ask  func(context.Context) error
}

// health answers /healthz and /livez (is the process all right: if not, restart it)
// and /readyz (may it get requests). Each check has a path of its own.
type health struct {
	live, ready []check
	log         *slog.Logger
}

// newHealth wires the checks. started is closed once the server's own objects exist,
// synced once the caches are filled, stopping when the server goes.
func newHealth(etcd func(context.Context) error, synced, started, stopping <-chan struct{}, log *slog.Logger) *health {
	common := []check{
		{"ping", func(context.Context) error { return nil }},
		{"log", func(context.Context) error { return nil }},
		{"etcd", etcd},
	}
	return &health{
		log:  log,
		live: append(slices.Clone(common), check{"poststarthook/bootstrap", isClosed(started)}, check{"poststarthook/rbac/bootstrap-roles", isClosed(started)}),
		ready: append(slices.Clone(common),
			check{"informer-sync", isClosed(synced)},
			check{"poststarthook/bootstrap", isClosed(started)},
			check{"poststarthook/rbac/bootstrap-roles", isClosed(started)},
			check{"shutdown", func(context.Context) error {
				if isClosed(stopping)(context.Background()) == nil {
					return errors.New("process is shutting down")
				}
				return nil
			}}),
	}
}

// isClosed is a check that passes once the channel is closed.
func isClosed(c <-chan struct{}) func(context.Context) error {
	return func(context.Context) error {
		select {
		case <-c:
			return nil
		default:
			return errors.New("not finished")
		}
	}
}

func (h *health) register(r *mux.Router) {
	for path, checks := range map[string][]check{"/healthz": h.live, "/livez": h.live, "/readyz": h.ready} {
		r.Handle(path, h.all(strings.TrimPrefix(path, "/"), checks))
		for _, c := range checks {
			r.Handle(path+"/"+c.name, one(c))
		}
	}
}

// one runs a single check, which may say what is wrong.
func one(c check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		if err := c.ask(ctx); err != nil {
			http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "ok")
	})
}

// checkTimeout bounds one check: who waits longer for etcd isn't healthy.
const checkTimeout = 2 * time.Second

// all runs the checks that ?exclude doesn't name, and tells the result: "ok", or what
// failed, or with ?verbose everything.
func (h *health) all(name string, checks []check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		var report strings.Builder
		failed := false
		exclude := r.URL.Query()["exclude"]
		for _, c := range checks {
			if slices.Contains(exclude, c.name) {
				fmt.Fprintf(&report, "[+]%s excluded: ok\n", c.name)
				continue
			}
			if err := c.ask(ctx); err != nil {
				failed = true
				h.log.Info("health check failed", "endpoint", name, "check", c.name, "err", err)
				fmt.Fprintf(&report, "[-]%s failed: reason withheld\n", c.name)
				continue
			}
			fmt.Fprintf(&report, "[+]%s ok\n", c.name)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, verbose := r.URL.Query()["verbose"]
		switch {
		case failed:
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, "%s%s check failed\n", report.String(), name)
		case verbose:
			fmt.Fprintf(w, "%s%s check passed\n", report.String(), name)
		default:
			fmt.Fprint(w, "ok")
		}
	})
}
