package proxy

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// healthChecks answer load balancers on the healthCheckNodePort of each Service that has
// one: is there a ready endpoint on this node (P30)?
type healthChecks struct {
	host   *host.Host
	health *health
	log    *slog.Logger
	open   map[plan.Name]*healthCheck
	wg     sync.WaitGroup
}

type healthCheck struct {
	name   plan.Name
	port   uint16
	health *health
	server *http.Server

	mu    sync.Mutex
	local int
}

func newHealthChecks(h *host.Host, health *health, log *slog.Logger) *healthChecks {
	return &healthChecks{host: h, health: health, log: log, open: map[plan.Name]*healthCheck{}}
}

// sync opens and closes ports until they are those that the plans ask for.
func (h *healthChecks) sync(ctx context.Context, plans map[plan.Name]*plan.Service) {
	for name, c := range h.open {
		if svc := plans[name]; svc == nil || svc.HealthCheckNodePort != c.port {
			_ = c.server.Close()
			delete(h.open, name)
		}
	}
	for name, svc := range plans {
		if svc.HealthCheckNodePort == 0 {
			continue
		}
		if h.open[name] == nil {
			h.listen(ctx, name, svc.HealthCheckNodePort)
		}
		if c := h.open[name]; c != nil {
			c.mu.Lock()
			c.local = svc.LocalReady
			c.mu.Unlock()
		}
	}
}

// listen opens one port. If that fails the next sync tries again.
func (h *healthChecks) listen(ctx context.Context, name plan.Name, port uint16) {
	ln, err := h.host.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		h.log.Error("cannot open the health check port", "service", name, "port", port, "err", err)
		return
	}
	c := &healthCheck{name: name, port: port, health: h.health}
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	h.open[name] = c
	h.wg.Go(func() { _ = c.server.Serve(ln) })
}

// close ends all servers and waits for them.
func (h *healthChecks) close() {
	for _, c := range h.open {
		_ = c.server.Close()
	}
	h.wg.Wait()
}

// ServeHTTP answers 200 while the node serves the Service, 503 otherwise.
func (c *healthCheck) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	local := c.local
	c.mu.Unlock()
	alive := c.health.alive()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
	if local > 0 && alive {
		w.WriteHeader(http.StatusOK)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	type service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	_ = json.NewEncoder(w).Encode(struct {
		Service             service `json:"service"`
		LocalEndpoints      int     `json:"localEndpoints"`
		ServiceProxyHealthy bool    `json:"serviceProxyHealthy"`
	}{service{c.name.Namespace, c.name.Name}, local, alive})
}
