package apiserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
)

// listen opens the server's address and adds the listeners it was given.
func (s *Server) listen(ctx context.Context) ([]net.Listener, error) {
	if s.cfg.BindAddress == "" {
		return s.cfg.Listeners, nil
	}
	ln, err := s.cfg.Host.Listen(ctx, "tcp", s.cfg.BindAddress)
	if err != nil {
		return s.cfg.Listeners, fmt.Errorf("listen on %s: %w", s.cfg.BindAddress, err)
	}
	return append([]net.Listener{ln}, s.cfg.Listeners...), nil
}

func closeAll(listeners []net.Listener) {
	for _, ln := range listeners {
		_ = ln.Close()
	}
}

// advertise is the address that the cluster uses.
func (s *Server) advertise(first net.Listener) (netip.AddrPort, error) {
	address := s.cfg.AdvertiseAddress
	if address == "" {
		address = first.Addr().String()
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil || a.Addr().IsUnspecified() {
		return a, fmt.Errorf("advertise-address %q must be an address and a port that others can reach, like 172.30.0.2:6443", address)
	}
	return a, nil
}

// serve starts answering on all listeners.
func (s *Server) serve(g *errgroup.Group, listeners []net.Listener, handler http.Handler) *http.Server {
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         s.tls,
		ReadHeaderTimeout: 32 * time.Second, // upstream's, against clients that never finish asking
		IdleTimeout:       90 * time.Second,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: s.stall},        // patience resets streams, this a dead connection
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // other people's failed handshakes
	}
	for _, ln := range listeners {
		g.Go(func() error {
			if err := server.ServeTLS(ln, "", ""); err != http.ErrServerClosed {
				return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
			}
			return nil
		})
	}
	return server
}

// gracePeriod is how long requests under way may take when the server is told to stop.
const gracePeriod = 10 * time.Second

// shutdown ends what would last for ever and waits for the rest.
func (s *Server) shutdown(server *http.Server, h *handlers, grace time.Duration) {
	close(h.stopping)
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan struct{})
	go func() { // closes the listeners and tells clients to go; they may take a second over it
		defer close(told)
		_ = server.Shutdown(ctx)
	}()
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		h.gate.Lock() // no request is under way, and none will be
	}()
	select {
	case <-idle:
	case <-time.After(grace):
		s.log.Warn("requests are cut off", "after", grace)
	}
	cancel()
	_ = server.Close()
	<-idle
	<-told
	h.nodes.close()
}
