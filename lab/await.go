package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	mdns "github.com/miekg/dns"

	"orrery.example.org/host"
)

// await waits for a component, or for the end of the lab.
func await(ctx context.Context, ready <-chan struct{}, what string) error {
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("while waiting for %s: %w", what, context.Cause(ctx))
	}
}

// bootRetry is how often the last steps of the boot look again. They look at what
// others reach through the kernel, which announces nothing.
const bootRetry = 2 * time.Millisecond

// awaitKubernetesService waits until every node reaches the API through the Service.
func (c *cluster) awaitKubernetesService(ctx context.Context) error {
	target := netip.AddrPortFrom(kubernetesService, 443).String()
	for i := range c.agents {
		err := retry(ctx, func() error {
			conn, err := c.fabric.hosts[nodeName(i+1)].Dial(ctx, "tcp", target)
			if err != nil {
				return err
			}
			return conn.Close()
		})
		if err != nil {
			return fmt.Errorf("reach the kubernetes Service at %s from %s: %w", target, nodeName(i+1), err)
		}
	}
	return nil
}

// awaitDNS waits until the first node gets the right answer from the DNS Service.
func (c *cluster) awaitDNS(ctx context.Context) error {
	name := "kubernetes.default.svc." + clusterDomain + "."
	err := retry(ctx, func() error { return askA(ctx, c.fabric.hosts[nodeName(1)], name, kubernetesService) })
	if err != nil {
		return fmt.Errorf("ask the cluster DNS at %s for %s: %w", dnsService, name, err)
	}
	return nil
}

func askA(ctx context.Context, from *host.Host, name string, want netip.Addr) error {
	conn, err := from.Dial(ctx, "udp", netip.AddrPortFrom(dnsService, 53).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	client := mdns.Client{Timeout: 100 * time.Millisecond}
	answer, _, err := client.ExchangeWithConnContext(ctx, new(mdns.Msg).SetQuestion(name, mdns.TypeA), &mdns.Conn{Conn: conn})
	if err != nil {
		return err
	}
	for _, rr := range answer.Answer {
		if a, ok := rr.(*mdns.A); ok && a.A.Equal(net.IP(want.AsSlice())) {
			return nil
		}
	}
	return fmt.Errorf("the answer is %s without %s", mdns.RcodeToString[answer.Rcode], want)
}

// retry calls try until it succeeds or the lab ends.
func retry(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(bootRetry):
		}
	}
}
