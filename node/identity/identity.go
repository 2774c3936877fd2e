// Package identity gets a node its certificates and keeps them fresh: the one it shows
// to the API server, and the one that its own server shows.
//
// Upstream counterpart: kubelet's TLS bootstrap (pkg/kubelet/certificate/bootstrap) and
// client-go's certificate manager, as kubeadm join uses them.
//
// In flows a bootstrap kubeconfig, whose token is good for one thing: to ask for the
// client certificate of a node. Out flow CertificateSigningRequests, for keys that never
// leave this machine; a kubeconfig; and certificates, which are replaced well before
// they expire, without a restart. What is kept in files is kept as kubelet keeps it.
//
// Left out: PKCS#11 keys, bootstrap without files.
package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/connrotation"

	"orrery.example.org/pki"
)

// Config of a node's identity.
type Config struct {
	Node      string   // name
	Addresses []string // what its server is reached at
	Dir       string   // of keys and certificates

	Kubeconfig string // is written once the node has joined, and read when it starts again
	Bootstrap  string // kubeconfig to join with, needed where Kubeconfig is not there or expired
	CAHashes   []string
	OwnServing bool // somebody else cares for the serving certificate

	Log *slog.Logger
}

// Identity is the node as others know it.
type Identity struct {
	cfg     Config
	server  *rest.Config // how to reach the API server, without credentials
	client  atomic.Pointer[tls.Certificate]
	serving atomic.Pointer[tls.Certificate]
	dialer  *connrotation.Dialer // of connections that show the client certificate
	api     kubernetes.Interface // with it
}

// The certificates' files. Each holds the certificate and its key, so that the two are
// replaced together.
func (c Config) clientFile() string  { return filepath.Join(c.Dir, "kubelet-client-current.pem") }
func (c Config) servingFile() string { return filepath.Join(c.Dir, "kubelet-server-current.pem") }

// Load takes the identity that the node had when it last ran, or joins the cluster. It
// returns once the node has a client certificate.
func Load(ctx context.Context, cfg Config) (*Identity, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	n := &Identity{cfg: cfg}
	known, err := n.resume()
	if err != nil {
		return nil, err
	}
	if !known {
		if err := n.join(ctx); err != nil {
			return nil, fmt.Errorf("node %s cannot join the cluster: %w", cfg.Node, err)
		}
	}
	n.connect()
	n.api, err = kubernetes.NewForConfig(n.ClientConfig())
	return n, err
}

// resume reads what an earlier run has left. It is good for nothing once it is expired.
func (n *Identity) resume() (bool, error) {
	pair, err := readPair(n.cfg.clientFile())
	if err != nil {
		return false, err
	}
	server, err := readServer(n.cfg.Kubeconfig)
	if err != nil || pair == nil || server == nil {
		return false, err
	}
	if left := time.Until(pair.Leaf.NotAfter); left <= 0 {
		n.cfg.Log.Warn("the client certificate has expired, the node must join anew", "since", -left.Round(time.Second))
		return false, nil
	}
	n.server = server
	n.client.Store(pair)
	serving, err := readPair(n.cfg.servingFile())
	if err == nil && serving != nil && time.Now().Before(serving.Leaf.NotAfter) {
		n.serving.Store(serving)
	}
	return true, err
}

// join asks for the client certificate with the bootstrap credentials.
func (n *Identity) join(ctx context.Context) error {
	client, server, err := n.bootstrap(ctx)
	if err != nil {
		return err
	}
	pair, err := n.request(ctx, client, n.clientRequest())
	if err != nil {
		return err
	}
	n.server = server
	if err := n.keep(pair, n.cfg.clientFile()); err != nil {
		return err
	}
	n.client.Store(pair)
	n.cfg.Log.Info("the node has joined", "node", n.cfg.Node, "server", server.Host, "until", pair.Leaf.NotAfter)
	return writeKubeconfig(n.cfg.Kubeconfig, server, n.cfg.clientFile())
}

// bootstrap is the access to the API server of somebody who wants to join.
func (n *Identity) bootstrap(ctx context.Context) (kubernetes.Interface, *rest.Config, error) {
	if n.cfg.Bootstrap == "" {
		return nil, nil, fmt.Errorf("%s holds no valid certificate, and no bootstrap-kubeconfig is given to get one with", n.cfg.Kubeconfig)
	}
	config, err := clientcmd.BuildConfigFromFlags("", n.cfg.Bootstrap)
	if err != nil {
		return nil, nil, fmt.Errorf("read bootstrap-kubeconfig: %w", err)
	}
	wrong := func(err error) (kubernetes.Interface, *rest.Config, error) {
		return nil, nil, fmt.Errorf("bootstrap-kubeconfig %s: %w", n.cfg.Bootstrap, err)
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return wrong(err)
	}
	if err := checkCA(config.CAData, n.cfg.CAHashes); err != nil {
		return wrong(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return wrong(err)
	}
	return client, rest.AnonymousClientConfig(config), greet(ctx, client, config.Host, n.cfg.Log)
}

// clientRequest is what the node asks for to be known to the API server.
func (n *Identity) clientRequest() wanted {
	return wanted{
		Request: pki.Node(n.cfg.Node), signer: certificatesv1.KubeAPIServerClientKubeletSignerName,
		usages:  []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		pending: filepath.Join(n.cfg.Dir, "kubelet-client.key.tmp"),
	}
}

// servingRequest is what it asks for to be known to the API server's connections.
func (n *Identity) servingRequest() wanted {
	w := wanted{
		Request: pki.Node(n.cfg.Node), signer: certificatesv1.KubeletServingSignerName,
		usages:  []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
		pending: filepath.Join(n.cfg.Dir, "kubelet-server.key.tmp"),
	}
	w.DNS = []string{n.cfg.Node}
	for _, address := range n.cfg.Addresses {
		if ip, err := netip.ParseAddr(address); err == nil {
			w.IPs = append(w.IPs, ip.AsSlice())
		}
	}
	return w
}

// ClientCA is who signs the cluster's certificates.
func (n *Identity) ClientCA() []byte { return n.server.CAData }

// errNoServing is what a client sees in the handshake until there is a certificate.
var errNoServing = errors.New("no serving certificate available for the kubelet")

// ServingCertificate is for a tls.Config: always the newest.
func (n *Identity) ServingCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cert := n.serving.Load(); cert != nil {
		return cert, nil
	}
	return nil, errNoServing
}
