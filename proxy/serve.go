package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// counterOf picks a counter by its labels.
type counterOf = func(labels ...string) prometheus.Counter

// serve opens the proxy's two ports: health for load balancers, metrics for this node.
func (p *Proxy) serve(ctx context.Context, g *errgroup.Group) error {
	healthMux := http.NewServeMux()
	healthMux.HandleFunc("/healthz", p.health.serveHealthz)
	healthMux.HandleFunc("/livez", p.health.serveLivez)

	metricsMux := http.NewServeMux()
	metricsMux.Handle("/metrics", promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{}))
	metricsMux.HandleFunc("/proxyMode", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, p.Mode())
	})
	metricsMux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })

	for _, s := range []struct {
		what, address string
		handler       http.Handler
	}{
		{"health", p.cfg.HealthzBindAddress, healthMux},
		{"metrics", p.cfg.MetricsBindAddress, metricsMux},
	} {
		if s.address == "" {
			continue
		}
		ln, err := p.cfg.Host.Listen(ctx, "tcp", s.address)
		if err != nil {
			return fmt.Errorf("proxy of %s: %s port: %w", p.cfg.NodeName, s.what, err)
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second}
		g.Go(func() error {
			if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("%s port: %w", s.what, err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			return server.Close()
		})
	}
	return nil
}
