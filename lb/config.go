package lb

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"k8s.io/client-go/rest"

	"orrery.example.org/host"
)

// Config is what a balancer needs to know.
type Config struct {
	// Pool lists the networks whose addresses this machine answers for. Clients must have
	// a route to them by way of it.
	Pool []string `mapstructure:"pool" usage:"networks whose addresses come to this machine"`

	// HealthCheckPort is where every node says whether it takes connections: the /healthz
	// of its service proxy. Services with externalTrafficPolicy Local have ports of their own.
	HealthCheckPort    int           `mapstructure:"health-check-port"`
	HealthCheckTimeout time.Duration `mapstructure:"health-check-timeout"`
	// HealthCheckInterval is the time between two checks of a target, HealthyThreshold and
	// UnhealthyThreshold how many answers in a row change its health.
	HealthCheckInterval time.Duration `mapstructure:"health-check-interval"`
	HealthyThreshold    int           `mapstructure:"healthy-threshold"`
	UnhealthyThreshold  int           `mapstructure:"unhealthy-threshold"`

	// ConnectionTimeout is how long an idle TCP connection keeps its node, should others
	// be chosen for new ones meanwhile.
	ConnectionTimeout time.Duration `mapstructure:"connection-timeout"`
	// SyncPeriod is how often the kernel's rules are compared with what they should be.
	SyncPeriod time.Duration `mapstructure:"sync-period"`

	Host   *host.Host   `mapstructure:"-"`
	Client *rest.Config `mapstructure:"-"`
	Log    *slog.Logger `mapstructure:"-"`
}

// Defaults is a Config that lacks only a Client. Clouds check every 2 to 10 s; whoever
// looks at a lab should not wait for that.
func Defaults() Config {
	return Config{
		Pool:                []string{"172.30.100.0/24"},
		HealthCheckPort:     10256,
		HealthCheckTimeout:  time.Second,
		HealthCheckInterval: time.Second,
		HealthyThreshold:    1,
		UnhealthyThreshold:  2,
		ConnectionTimeout:   10 * time.Minute,
		SyncPeriod:          30 * time.Second,
	}
}

// validate says everything that is wrong with the Config at once.
func (c *Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := c.pool(); err != nil {
		bad("%w", err)
	}
	if c.HealthCheckPort < 1 || c.HealthCheckPort > 65535 {
		bad("health-check-port %d is not within 1 and 65535", c.HealthCheckPort)
	}
	if c.HealthCheckTimeout <= 0 || c.HealthCheckInterval <= 0 || c.SyncPeriod <= 0 {
		bad("health-check-timeout, health-check-interval and sync-period must be positive")
	}
	if c.ConnectionTimeout < time.Second {
		bad("connection-timeout %v is less than a second", c.ConnectionTimeout)
	}
	if c.HealthyThreshold < 1 || c.UnhealthyThreshold < 1 {
		bad("healthy-threshold and unhealthy-threshold must be at least 1")
	}
	if c.Client == nil {
		bad("no API client configured")
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("load balancer configuration: %w", err)
	}
	return nil
}

func (c *Config) pool() ([]netip.Prefix, error) {
	var pool []netip.Prefix
	for _, text := range c.Pool {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("pool: %w", err)
		}
		for _, other := range pool {
			if other.Overlaps(p) {
				return nil, fmt.Errorf("pool: %s and %s overlap", other, text)
			}
		}
		pool = append(pool, p.Masked())
	}
	if len(pool) == 0 {
		return nil, errors.New("pool is empty")
	}
	return pool, nil
}
