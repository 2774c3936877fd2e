package apiserver

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"

	"orrery.example.org/apiserver/auth"
)

type attributesKey struct{}

// attributes are what a request is about. Each filter adds what it finds out.
func attributes(r *http.Request) *auth.Attributes {
	return r.Context().Value(attributesKey{}).(*auth.Attributes)
}

// record is the outermost filter: it measures, and turns a panic into a 500.
func (h *handlers) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &auth.Attributes{Path: r.URL.Path}
		r = r.WithContext(context.WithValue(r.Context(), attributesKey{}, a))
		rec := &recorder{ResponseWriter: w, patience: newPatience(w, h.stall)}
		answerTo(r, w.Header())
		start := time.Now()
		if !h.gate.TryRLock() {
			h.fail(w, r, apierrors.NewServiceUnavailable("the API server is shutting down"))
			return
		}
		defer h.gate.RUnlock()
		done := h.metrics.begin()
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				h.log.Error("a handler panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				if rec.status == 0 {
					http.Error(rec, "This request caused apiserver to panic. Look in the logs for details.", http.StatusInternalServerError)
					p = nil
				}
			}
			done(a, rec.code(), time.Since(start), r)
			rec.end()
			if p != nil {
				panic(http.ErrAbortHandler) // half an answer is out: only cutting it off is honest
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

// answerTo sets the headers that every answer has: the request's name, which a client may
// give it, and that only who asked may keep the answer, where no handler says otherwise.
func answerTo(r *http.Request, header http.Header) {
	header.Set(auditID, cmp.Or(r.Header.Get(auditID), string(uuid.NewUUID())))
	header.Set("Cache-Control", "no-cache, private")
}

const auditID = "Audit-Id"

// authenticate finds out who is asking.
func (h *handlers) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := h.authn.Authenticate(r)
		if err != nil {
			h.log.Warn("unable to authenticate a request", "path", r.URL.Path, "err", err)
			h.fail(w, r, apierrors.NewUnauthorized("Unauthorized"))
			return
		}
		attributes(r).User = user
		next.ServeHTTP(w, r)
	})
}

// authorize asks whether the user, or whom he impersonates, may do what the route found
// the request to be.
func (h *handlers) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := attributes(r)
		describe(a, r)
		user, err := h.impersonated(r, a)
		if err != nil {
			h.refuse(w, r, err)
			return
		}
		a.User = user
		allowed, reason, err := h.authz.Authorize(r.Context(), *a)
		switch {
		case err != nil:
			h.refuse(w, r, fmt.Errorf("authorize: %w", err))
		case !allowed:
			h.refuse(w, r, errForbidden(a, reason))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// refuse answers a request that no handler has seen. Upstream writes these answers by
// other means than the rest, which shows in a header.
func (h *handlers) refuse(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.fail(w, r, err)
}

// authorizeAlso asks whether the user may do something else to the call's resource than what
// it was asked for.
func (h *handlers) authorizeAlso(c *call, verb string) error {
	a := *attributes(c.r)
	a.Verb = verb
	allowed, reason, err := h.authz.Authorize(c.ctx(), a)
	switch {
	case err != nil:
		return fmt.Errorf("authorize: %w", err)
	case !allowed:
		return errForbidden(&a, reason)
	}
	return nil
}

// errForbidden says what was not allowed, in upstream's words.
func errForbidden(a *auth.Attributes, reason string) error {
	msg := fmt.Sprintf("User %q cannot %s path %q", a.User.Name, a.Verb, a.Path)
	if a.Resource != "" {
		resource, scope := a.Resource, "at the cluster scope"
		if a.Subresource != "" {
			resource += "/" + a.Subresource
		}
		if a.Namespace != "" {
			scope = fmt.Sprintf("in the namespace %q", a.Namespace)
		}
		msg = fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", a.User.Name, a.Verb, resource, a.Group, scope)
	}
	msg = noHTML.Replace(msg)
	if reason != "" {
		msg += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, errors.New(msg))
}

// noHTML keeps a browser from taking a client's words for ours.
var noHTML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// recorder remembers the status of the answer, and doesn't wait for ever for a client
// that doesn't read it.
type recorder struct {
	http.ResponseWriter
	patience *patience
	status   int
}

func (w *recorder) WriteHeader(code int) {
	if w.status == 0 {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (n int, err error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	err = w.patience.during(func() error {
		n, err = w.ResponseWriter.Write(b)
		return err
	})
	return n, err
}

// end comes after the last Write; a hijacked connection is no longer ours.
func (w *recorder) end() {
	if w.status != http.StatusSwitchingProtocols {
		w.patience.end()
	}
}

func (w *recorder) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// FlushError is what http.ResponseController looks for, and Flush httputil.ReverseProxy.
func (w *recorder) FlushError() error { return w.patience.during(w.patience.control.Flush) }

// Flush implements http.Flusher.
func (w *recorder) Flush() { _ = w.FlushError() }

// Hijack hands the connection to whoever upgrades it.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}
