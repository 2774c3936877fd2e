package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Reload is a configuration that comes while the server runs, or why there is none.
type Reload struct {
	Config Config
	Err    error
}

// follow puts one configuration after the other into force until ctx ends. One that is
// not valid changes nothing: whoever made the mistake should not take the cluster's names
// with it.
//
// No query is dropped: sockets stay open, the index stays as it is, and a query under way
// ends as it began.
//
// Kubernetes: CoreDNS starts a second instance on the same sockets and stops the first,
// and lists all objects of the cluster anew.
func (s *Server) follow(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r, ok := <-s.cfg.Reloads:
			if !ok {
				return nil
			}
			err := r.Err
			if err == nil {
				err = s.reload(ctx, r.Config)
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				s.metrics.reloadsFailed.Inc()
				s.log.Error("the new configuration is not used, the old one stays in force", "error", err)
				continue
			}
			s.log.Info("the new configuration is in force")
		}
	}
}

// reload replaces the settings.
func (s *Server) reload(ctx context.Context, cfg Config) error {
	old := s.settings.Load()
	cfg.Host, cfg.Client, cfg.Log, cfg.Reloads, cfg.clientset = s.cfg.Host, s.cfg.Client, s.cfg.Log, s.cfg.Reloads, s.cfg.clientset
	if err := cfg.validate(); err != nil {
		return fmt.Errorf("dns configuration: %w", err)
	}
	if err := sameSockets(&old.cfg, &cfg); err != nil {
		return err
	}
	set, err := s.newSettings(cfg)
	if err != nil {
		return err
	}
	if cfg.Pods == podsVerified {
		s.watchPods()
		select {
		case <-s.podsSynced: // lest Pods that exist are denied
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.settings.Store(set)
	s.index.generation.Add(1) // kept replies are the old settings'
	s.cache.Reset(set.cacheLimits())
	select {
	case s.changed <- struct{}{}:
	default: // told already
	}
	return nil
}

// sameSockets refuses what takes a restart.
func sameSockets(old, now *Config) error {
	var errs []error
	for _, field := range []struct {
		name string
		same bool
	}{
		{"listen", slices.Equal(old.Listen, now.Listen)},
		{"health-address", old.HealthAddress == now.HealthAddress},
		{"ready-address", old.ReadyAddress == now.ReadyAddress},
		{"metrics-address", old.MetricsAddress == now.MetricsAddress},
	} {
		if !field.same {
			errs = append(errs, fmt.Errorf("%s cannot change while the server runs: restart it", field.name))
		}
	}
	return errors.Join(errs...)
}

// keepForwarding runs the forwarder of the settings in force, one after the other.
func (s *Server) keepForwarding(ctx context.Context) error {
	for ctx.Err() == nil {
		this, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.settings.Load().forwarder.Run(this)
		}()
		select {
		case <-ctx.Done():
		case <-s.changed:
		}
		stop()
		<-done
	}
	return nil
}
