// Package server is the node's own HTTPS port, 10250: logs, exec, attach and
// port-forward, and what its Pods use, to which the API server passes such requests on.
//
// Upstream counterpart: kubelet's server. The paths and parameters are upstream's,
// so that an API server need not know who answers. Who comes in is known by a certificate
// of the cluster's CA or by a token, and the API server says what he may (gate.go).
// Left out: /metrics/cadvisor and /metrics/probes, /run, /checkpoint, /configz, debugging.
package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// Backend is the agent, as the server needs it. Containers are named by a Pod's full
// name (namespace/name), its uid, which may be empty, and the container's name.
type Backend interface {
	remotecommand.Executor
	remotecommand.Attacher
	portforward.PortForwarder

	// Pods lists the node's Pods.
	Pods() []*corev1.Pod
	// Summary says what the node and its Pods use.
	Summary(ctx context.Context) (*Summary, error)
	// OpenLog finds a container's log. An error is the client's.
	OpenLog(pod string, uid types.UID, container string, previous bool) (Log, error)
}

// Log is a container's log.
type Log interface {
	Read(ctx context.Context, options *corev1.PodLogOptions, now time.Time, w io.Writer) error
}

// Config of the server.
type Config struct {
	Host     *host.Host
	Address  string
	Port     int
	Node     string               // name of the node
	Serving  pki.Pair             // the server's certificate
	ClientCA []byte               // PEM
	Client   kubernetes.Interface // of the API server, which is asked who may what
	Log      *slog.Logger

	ServingCertificate CertificateFunc // instead of Serving, for certificates that are renewed
}

// CertificateFunc finds the certificate for a connection.
type CertificateFunc = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// Server serves one node.
type Server struct {
	cfg     Config
	backend Backend
	gate    *gate
	tls     *tls.Config
}

// New makes a server. It starts nothing.
func New(c Config, backend Backend) (*Server, error) {
	if c.ServingCertificate == nil {
		cert, err := c.Serving.TLS()
		if err != nil {
			return nil, fmt.Errorf("the node's serving certificate: %w", err)
		}
		c.ServingCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.ClientCA) {
		return nil, errors.New("the CA of the node's clients: no certificate in the PEM data")
	}
	return &Server{cfg: c, backend: backend, gate: newGate(c.Node, pool, c.Client), tls: &tls.Config{
		GetCertificate: c.ServingCertificate,
		ClientCAs:      pool,
		ClientAuth:     tls.RequestClientCert, // the gate looks at it, and answers a bad one with a 401
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"}, // streams are upgraded connections, which HTTP/2 has not
	}}, nil
}

// Run serves until ctx is cancelled. Streams are cut off.
func (s *Server) Run(ctx context.Context) error {
	address := net.JoinHostPort(s.cfg.Address, strconv.Itoa(s.cfg.Port))
	ln, err := s.cfg.Host.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	streams, cut := context.WithCancel(ctx)
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return streams },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(tls.NewListener(ln, s.tls)) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		cut()
		_ = server.Close()
		<-served
	}
	cut()
	return err
}

func (s *Server) handler() http.Handler {
	r := mux.NewRouter()
	r.Use(s.guard)
	r.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	r.HandleFunc("/pods", s.servePods)
	r.Handle("/metrics", s.metrics())
	r.HandleFunc("/metrics/resource", s.serveResourceMetrics)
	r.HandleFunc("/stats/summary", s.serveSummary)
	r.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", s.serveLog)
	for path, serve := range map[string]http.HandlerFunc{
		"/exec/{namespace}/{pod}/{container}":         s.serveExec,
		"/exec/{namespace}/{pod}/{uid}/{container}":   s.serveExec,
		"/attach/{namespace}/{pod}/{container}":       s.serveAttach,
		"/attach/{namespace}/{pod}/{uid}/{container}": s.serveAttach,
		"/portForward/{namespace}/{pod}":              s.servePortForward,
		"/portForward/{namespace}/{pod}/{uid}":        s.servePortForward,
	} {
		r.HandleFunc(path, serve).Methods(http.MethodGet, http.MethodPost)
	}
	return r
}

func (s *Server) servePods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	for _, pod := range s.backend.Pods() {
		list.Items = append(list.Items, *pod)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // fails when the client has left
}

// metrics are a few of kubelet's.
func (s *Server) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	gauge := func(name, help string, count func(*corev1.Pod) int) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: name, Help: help, ConstLabels: prometheus.Labels{"node": s.cfg.Node},
		}, func() float64 {
			total := 0
			for _, pod := range s.backend.Pods() {
				total += count(pod)
			}
			return float64(total)
		}))
	}
	gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox", func(p *corev1.Pod) int {
		if p.Status.Phase == corev1.PodRunning {
			return 1
		}
		return 0
	})
	gauge("kubelet_running_containers", "Number of containers currently running", func(p *corev1.Pod) int {
		running := 0
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running != nil {
				running++
			}
		}
		return running
	})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}
