package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	certificatesv1 "k8s.io/api/certificates/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"

	"orrery.example.org/host"
)

// connect prepares the connections to the API server.
func (n *Identity) connect() {
	dial := n.server.Dial
	if dial == nil {
		dial = host.DialQuickly
	}
	n.dialer = connrotation.NewDialer(dial)
}

// ClientConfig is the node's access to the API server. Each new connection shows the
// newest certificate.
func (n *Identity) ClientConfig() *rest.Config {
	config := rest.CopyConfig(n.server)
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil || tlsConfig == nil { // it was good for joining
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	tlsConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return n.client.Load(), nil }
	config.Transport = utilnet.SetTransportDefaults(&http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: tlsConfig,
		MaxIdleConnsPerHost: 25, DialContext: n.dialer.DialContext,
	})
	config.TLSClientConfig, config.Dial = rest.TLSClientConfig{}, nil // the transport has them
	config.QPS = -1
	return config
}

// Run renews the certificates until ctx ends. It asks for the first serving
// certificate, too, which is approved once the Node is registered.
func (n *Identity) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		n.renew(ctx, &n.client, n.clientRequest, n.cfg.clientFile())
		return nil
	})
	if !n.cfg.OwnServing {
		group.Go(func() error {
			n.renew(ctx, &n.serving, n.servingRequest, n.cfg.servingFile())
			return nil
		})
	}
	return group.Wait()
}

// askAgain is waited after a failure, then twice as long each time up to the most.
const (
	askAgain     = 2 * time.Second
	askAgainMost = 32 * time.Second
)

// renew replaces one certificate again and again, each in good time.
func (n *Identity) renew(ctx context.Context, cert *atomic.Pointer[tls.Certificate], want func() wanted, file string) {
	for failed := askAgain; ctx.Err() == nil; {
		if current := cert.Load(); current != nil && !sleep(ctx, time.Until(renewal(current.Leaf, rand.Float64()))) {
			return
		}
		pair, err := n.obtain(ctx, cert.Load(), want())
		if err == nil {
			err = n.keep(pair, file)
		}
		if err != nil {
			if ctx.Err() == nil {
				n.cfg.Log.Error("cannot get a certificate, will try again", "signer", want().signer, "err", err)
			}
			sleep(ctx, failed)
			failed = min(2*failed, askAgainMost)
			continue
		}
		failed = askAgain
		cert.Store(pair)
		n.cfg.Log.Info("a new certificate", "signer", want().signer, "until", pair.Leaf.NotAfter)
		if cert == &n.client {
			n.dialer.CloseAll() // connections live as long as the certificate they showed
		}
	}
}

// obtain asks for a certificate as the node, or, when that one's time has run out
// (the machine slept, the cluster was down), as at the beginning.
func (n *Identity) obtain(ctx context.Context, current *tls.Certificate, w wanted) (*tls.Certificate, error) {
	if w.signer != certificatesv1.KubeAPIServerClientKubeletSignerName || time.Now().Before(current.Leaf.NotAfter) {
		return n.request(ctx, n.api, w)
	}
	client, _, err := n.bootstrap(ctx)
	if err != nil {
		return nil, fmt.Errorf("the client certificate has expired at %s: %w", current.Leaf.NotAfter, err)
	}
	return n.request(ctx, client, w)
}

// backdated is what signers put the start of a certificate back by.
const backdated = 5 * time.Minute

// renewal is when to replace a certificate: after 70 to 90 % of its life, so that the
// nodes of a cluster do not all come at once. chance is from 0 to 1.
func renewal(cert *x509.Certificate, chance float64) time.Time {
	start := cert.NotBefore
	if life := cert.NotAfter.Sub(start); life > backdated {
		start = start.Add(backdated)
	}
	return start.Add(time.Duration((0.7 + 0.2*chance) * float64(cert.NotAfter.Sub(start))))
}

// sleep reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
