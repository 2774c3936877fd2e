package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// httpEndpoint serves /health, /ready and /metrics, or those of them that share an address.
type httpEndpoint struct {
	listener net.Listener
	mux      *http.ServeMux
}

// listenHTTP opens the addresses that are configured, each once.
func (s *Server) listenHTTP(ctx context.Context) error {
	open := map[string]*httpEndpoint{}
	for _, e := range []struct {
		address, path string
		handler       http.Handler
	}{
		{s.cfg.HealthAddress, "/health", http.HandlerFunc(health)},
		{s.cfg.ReadyAddress, "/ready", http.HandlerFunc(s.readiness)},
		{s.cfg.MetricsAddress, "/metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})},
	} {
		if e.address == "" {
			continue
		}
		if open[e.address] == nil {
			listener, err := s.cfg.Host.Listen(ctx, "tcp", e.address)
			if err != nil {
				return fmt.Errorf("listen for %s: %w", e.path, err)
			}
			open[e.address] = &httpEndpoint{listener: listener, mux: http.NewServeMux()}
			s.sockets.http = append(s.sockets.http, open[e.address])
		}
		open[e.address].mux.Handle("GET "+e.path, e.handler)
	}
	return nil
}

// serve answers until ctx ends.
func (e *httpEndpoint) serve(ctx context.Context) error {
	server := &http.Server{Handler: e.mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = server.Close()
	})
	err := server.Serve(e.listener)
	if !stop() {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", e.listener.Addr(), err)
}

// health says that the process is alive.
func health(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "OK") }

// readiness says whether names can be answered; where not, it lists what is missing by
// the name of CoreDNS's plugin.
func (s *Server) readiness(w http.ResponseWriter, _ *http.Request) {
	if s.isReady() {
		_, _ = fmt.Fprint(w, "OK")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = fmt.Fprint(w, "kubernetes")
}
