package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// askHealth makes a probe by gRPC's health protocol, with upstream's words for what can
// go wrong. As upstream's, one by TLS trusts any certificate.
func (p *prober) askHealth(ctx context.Context, action *corev1.GRPCAction, timeout time.Duration) error {
	address := net.JoinHostPort(p.podIP, strconv.Itoa(int(action.Port)))
	security := insecure.NewCredentials()
	if ptr.Deref(action.Mode, "") == corev1.GRPCProbeModeTLS {
		security = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(security), grpc.WithUserAgent("kube-probe/1.37"), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return p.node.Dial(ctx, "tcp", address)
		}))
	if err != nil {
		return fmt.Errorf("error: failed to connect service at %q: %w", address, err)
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: ptr.Deref(action.Service, "")}, grpc.WaitForReady(true))
	switch code := status.Code(err); {
	case err == nil && answer.Status == grpc_health_v1.HealthCheckResponse_SERVING:
		return nil
	case err == nil:
		return fmt.Errorf("service unhealthy (responded with %q)", answer.Status)
	case code == codes.Unimplemented:
		return fmt.Errorf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", status.Convert(err).Message())
	case code == codes.DeadlineExceeded && conn.GetState() != connectivity.Ready:
		return fmt.Errorf("timeout: failed to connect service %q within %v: %w", address, timeout, context.DeadlineExceeded)
	case code == codes.DeadlineExceeded:
		return errors.New("timeout: health rpc did not complete within " + timeout.String())
	default:
		return fmt.Errorf("error: health rpc probe failed: %w", err)
	}
}
