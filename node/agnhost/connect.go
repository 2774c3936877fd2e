package agnhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"orrery.example.org/node/workload"
)

// connect tries one connection, and says on standard error in one word what is wrong.
func connect(ctx context.Context, p *program) error {
	timeout := p.flags.Duration("timeout", 0, "Maximum time before returning an error")
	protocol := p.flags.String("protocol", "tcp", "The protocol to use to perform the connection, can be tcp or udp")
	data := p.flags.String("udp-data", "hostname", "The UDP payload send to the server")
	if err := p.parse(1); err != nil {
		return err
	}
	p.Ready()
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	host, port, err := net.SplitHostPort(p.args[0])
	if err != nil {
		return p.fail("UNKNOWN: %v", err)
	}
	address, err := p.resolve(ctx, host, port)
	if err != nil {
		return p.fail("DNS: %v", err)
	}
	switch *protocol {
	case "", "tcp":
		var conn net.Conn
		if conn, err = p.Host.Dial(ctx, "tcp", address); err == nil {
			return conn.Close()
		}
	case "udp":
		if _, err = p.askUDP(ctx, address, *data+"\n"); err == nil {
			return nil
		}
	default:
		return p.fail("Unsupported protocol\n%s", *protocol)
	}
	var network net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return p.fail("REFUSED")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return p.fail("TIMEOUT")
	default:
		return p.fail("OTHER: %v", err)
	}
}

func (p *program) fail(format string, args ...any) error {
	fmt.Fprintf(p.Stderr, format+"\n", args...)
	return workload.Exit{Code: 1}
}
