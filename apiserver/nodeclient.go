package apiserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"orrery.example.org/apiserver/store"
	"orrery.example.org/pki"
)

// kubeletPort is where a node's agent listens unless the Node says otherwise.
const kubeletPort = 10250

// dialer opens connections to nodes.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// nodeClient reaches the agents of nodes over their HTTPS port, as the API server.
type nodeClient struct {
	nodes     *store.Collection
	transport *http.Transport
	toPods    *http.Transport // for proxies to Pods, Services and other ports of nodes
}

func newNodeClient(nodes *store.Collection, ca *pki.CA, pair pki.Pair, dial dialer) (*nodeClient, error) {
	config := &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
	if len(pair.Cert) > 0 {
		cert, err := pair.TLS()
		if err != nil {
			return nil, fmt.Errorf("client certificate towards nodes: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	agents := &http.Transport{DialContext: dial, TLSClientConfig: config, MaxIdleConnsPerHost: 4}
	return &nodeClient{nodes, agents, podTransport(dial)}, nil
}

// close ends the connections that nobody uses.
func (n *nodeClient) close() {
	n.transport.CloseIdleConnections()
	n.toPods.CloseIdleConnections()
}

// location is the base URL of a node's agent: its InternalIP, so that nobody has to
// resolve a name, and the port that its status tells.
func (n *nodeClient) location(ctx context.Context, name string) (*url.URL, error) {
	v, err := n.nodes.Get(ctx, "", name, true)
	if err != nil {
		return nil, err
	}
	node := v.Object.(*corev1.Node)
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = kubeletPort
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && net.ParseIP(a.Address) != nil {
			return &url.URL{Scheme: "https", Host: net.JoinHostPort(a.Address, strconv.Itoa(port))}, nil
		}
	}
	return nil, apierrors.NewInternalError(fmt.Errorf("no preferred addresses found; known addresses: %v", node.Status.Addresses))
}
