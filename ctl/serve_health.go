package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"orrery.example.org/host"
)

// HealthPort is where a component says how it is that has no port of its own for that.
type HealthPort struct {
	HealthzBindAddress string `mapstructure:"healthz-bind-address" usage:"where /healthz says that the component runs, and /readyz that it has begun its work; \"\": nowhere"`
}

// beside has the port answer while run runs. ready is closed when the work has begun.
func (p HealthPort) beside(run func(context.Context) error, ready <-chan struct{}) func(context.Context) error {
	if p.HealthzBindAddress == "" {
		return run
	}
	return func(ctx context.Context) error {
		var here *host.Host // this machine
		ln, err := here.Listen(ctx, "tcp", p.HealthzBindAddress)
		if err != nil {
			return fmt.Errorf("health port: %w", err)
		}
		server := &http.Server{Handler: healthHandler(ready), ReadHeaderTimeout: 10 * time.Second}
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error {
			if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("health port: %w", err)
			}
			return nil
		})
		group.Go(func() error {
			defer server.Close()
			return run(ctx)
		})
		return group.Wait()
	}
}

func healthHandler(ready <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-ready:
			_, _ = io.WriteString(w, "ok")
		default:
			http.Error(w, "not ready yet", http.StatusServiceUnavailable)
		}
	})
	return mux
}
