package node

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// serveGRPC answers on a loopback port. register says what.
func serveGRPC(t *testing.T, register func(*grpc.Server)) (port int32) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	server := grpc.NewServer()
	register(server)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Stop(); <-ended })
	return int32(ln.Addr().(*net.TCPAddr).Port)
}

// slow answers as one whose time is over.
type slow struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (slow) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return nil, status.Error(codes.DeadlineExceeded, "too slow")
}

func TestGRPCProbe(t *testing.T) {
	states := health.NewServer()
	states.SetServingStatus("up", grpc_health_v1.HealthCheckResponse_SERVING)
	states.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	healthy := serveGRPC(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, states) })
	dumb := serveGRPC(t, func(*grpc.Server) {})
	stuck := serveGRPC(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, slow{}) })
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	must(t, err)
	t.Cleanup(func() { _ = silent.Close() })

	for name, row := range map[string]struct {
		port    int32
		service *string
		timeout int32
		want    string // how the error begins
	}{
		"the server":    {healthy, nil, 20, ""},
		"a service":     {healthy, ptr.To("up"), 20, ""},
		"not serving":   {healthy, ptr.To("down"), 20, `service unhealthy (responded with "NOT_SERVING")`},
		"unknown":       {healthy, ptr.To("other"), 20, "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"},
		"without one":   {dumb, nil, 20, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service"},
		"too slow":      {stuck, nil, 20, "timeout: health rpc did not complete within 20s"},
		"not connected": {int32(silent.Addr().(*net.TCPAddr).Port), nil, 1, `timeout: failed to connect service "127.0.0.1:`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &prober{podIP: "127.0.0.1"}
			handler := &corev1.Probe{TimeoutSeconds: row.timeout, ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: row.port, Service: row.service}}}
			ctx, cancel := context.WithTimeout(t.Context(), seconds(handler.TimeoutSeconds, 1))
			defer cancel()
			got := ""
			if err := p.check(ctx, handler, &corev1.Container{}); err != nil {
				got = err.Error()
			}
			if (got == "") != (row.want == "") || !strings.HasPrefix(got, row.want) {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}
