// Package apiserver is the cluster's API server: the only door to the store. Every
// other part of the cluster, and every person, meets here.
//
// Upstream counterpart: kube-apiserver (k8s.io/apiserver and pkg/registry of
// kubernetes/kubernetes). In flow HTTP requests over TLS; out flow objects, lists and
// watches of them. What is known of a kind comes from the table in api/; what is
// stored goes through store/, what is allocated through alloc/, whose which field is
// through owners/, who may what through auth/.
//
// Read server.go (the boot order), routes.go (the paths), filters.go and call.go (the
// life of a request), then a verb: get.go, watch.go (the life of a watch), create.go
// with write.go (the life of a write), apply.go (of an apply), delete.go with
// deletion.go, or evict (eviction.go). What is only asked and never stored is in review.go
// and token.go. negotiate.go says what a client may ask for, form.go how objects become
// those bytes (cbor.go in CBOR), patience.go what happens if nobody reads them. What goes
// on to somebody else is in connect.go (streams to a node) and proxy.go (to Pods, Services
// and nodes); socket.go is a watch for browsers.
//
// Left out: admission webhooks, custom resources, aggregation, audit, priority and
// fairness.
package apiserver

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/admission"
	"orrery.example.org/apiserver/alloc"
	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/etcd"
	"orrery.example.org/apiserver/owners"
	"orrery.example.org/apiserver/store"
	"orrery.example.org/apiserver/usage"
	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// Config is what an API server needs to know. The keys are kube-apiserver's flags.
type Config struct {
	// BindAddress is host:port to listen on; empty listens on Listeners only.
	BindAddress string `mapstructure:"bind-address"`
	// AdvertiseAddress is host:port at which the cluster reaches this server. It becomes
	// the endpoint of the Service "kubernetes". Empty: the first listener's address.
	AdvertiseAddress string `mapstructure:"advertise-address"`
	// ControlPlaneEndpoint is host:port at which whoever is not in a Pod reaches this
	// server, or any one of several. Empty: AdvertiseAddress.
	ControlPlaneEndpoint string `mapstructure:"control-plane-endpoint" usage:"HOST:PORT at which clients reach any of the API servers; by default this one's address"`

	ServiceCIDR   []string `mapstructure:"service-cluster-ip-range"` // one, or two of different families
	NodePortRange string   `mapstructure:"service-node-port-range"`

	// AuthorizationMode lists who is asked whether a request may proceed: Node, RBAC,
	// AlwaysAllow, AlwaysDeny. The first that allows it decides.
	AuthorizationMode []string `mapstructure:"authorization-mode" usage:"who decides what clients may do: Node, RBAC, AlwaysAllow, AlwaysDeny"`

	Etcd etcd.Config `mapstructure:"etcd"`

	Host      *host.Host     `mapstructure:"-"`
	Listeners []net.Listener `mapstructure:"-"` // further ones; the server closes them
	Kinds     []*api.Kind    `mapstructure:"-"` // nil: api.Table

	DisableAdmissionPlugins []string `mapstructure:"disable-admission-plugins"` // by their names in apiserver/admission

	ServiceAccountIssuer string        `mapstructure:"service-account-issuer"` // who signs tokens; empty: auth.DefaultIssuer
	APIAudiences         []string      `mapstructure:"api-audiences"`          // whom tokens for this server are for; empty: the issuer
	ServiceAccountKey    crypto.Signer `mapstructure:"-"`                      // signs tokens; nil: one that lives as long as the server

	CA            *pki.CA  `mapstructure:"-"` // whose certificates identify clients and nodes
	Serving       pki.Pair `mapstructure:"-"` // shown to clients
	KubeletClient pki.Pair `mapstructure:"-"` // shown to nodes

	Authenticators []auth.Authenticator `mapstructure:"-"` // asked after client certificates and tokens
	Authorizer     auth.Authorizer      `mapstructure:"-"` // instead of AuthorizationMode

	Log *slog.Logger `mapstructure:"-"`
}

// Defaults is the configuration of a single machine, but for etcd's directory and the
// certificates.
func Defaults() Config {
	return Config{
		BindAddress:          "127.0.0.1:6443",
		ServiceCIDR:          []string{"10.96.0.0/12"},
		NodePortRange:        "30000-32767",
		AuthorizationMode:    []string{"Node", "RBAC"},
		ServiceAccountIssuer: auth.DefaultIssuer,
		Etcd:                 etcd.Defaults(),
	}
}

// Server is an API server.
type Server struct {
	cfg   Config
	log   *slog.Logger
	alloc *alloc.Allocator
	tls   *tls.Config
	dial  dialer // to nodes and Pods
	stall time.Duration
	ready chan struct{}
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, log: cfg.Log, dial: cfg.Host.Dial, stall: stallTimeout, ready: make(chan struct{})}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.cfg.Kinds == nil {
		s.cfg.Kinds = api.Table
	}
	d := Defaults()
	if len(s.cfg.ServiceCIDR) == 0 {
		s.cfg.ServiceCIDR = d.ServiceCIDR
	}
	if s.cfg.NodePortRange == "" {
		s.cfg.NodePortRange = d.NodePortRange
	}
	if len(s.cfg.AuthorizationMode) == 0 {
		s.cfg.AuthorizationMode = d.AuthorizationMode
	}
	if cfg.BindAddress == "" && len(cfg.Listeners) == 0 {
		return nil, fmt.Errorf("the API server has no address to listen on (bind-address)")
	}
	if cfg.CA == nil {
		return nil, fmt.Errorf("the API server needs a CA that its clients' certificates are checked against")
	}
	if cfg.ServiceAccountKey == nil {
		key, err := pki.NewSigningKey()
		if err != nil {
			return nil, err
		}
		s.cfg.ServiceAccountKey = key
	}
	cert, err := cfg.Serving.TLS()
	if err != nil {
		return nil, fmt.Errorf("the API server's certificate: %w", err)
	}
	s.tls = &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		// Asked for but not checked here: a bad one is answered with a 401 that says so.
		ClientAuth: tls.RequestClientCert,
		ClientCAs:  cfg.CA.Pool(),
	}
	s.alloc, err = alloc.New(s.cfg.ServiceCIDR, s.cfg.NodePortRange)
	return s, err
}

// Ready is closed when /readyz answers ok: the caches are filled and the cluster's
// own objects exist.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run starts etcd and the store and serves until ctx ends. Then watches are ended,
// requests under way are finished, and etcd is closed last.
func (s *Server) Run(ctx context.Context) error {
	var member *etcd.Member
	var err error
	startEtcd := func() error {
		if member, err = etcd.Start(ctx, s.etcdConfig(), s.log); err != nil {
			return fmt.Errorf("start etcd: %w", err)
		}
		return nil
	}
	if s.cfg.Etcd.InitialCluster != "" { // nobody must connect to a server that waits for a quorum: another may have one
		if err := startEtcd(); err != nil {
			return err
		}
		defer member.Close()
	}
	listeners, err := s.listen(ctx)
	defer closeAll(listeners)
	if err != nil {
		return err
	}
	advertise, err := s.advertise(listeners[0])
	if err != nil {
		return err
	}
	if member == nil {
		if err := startEtcd(); err != nil {
			return err
		}
		defer member.Close()
	}
	objects := store.New(member.Client(), "/registry/", s.cfg.Kinds, s.log, store.WithRevision(member.Revision()))

	started := make(chan struct{})
	h, err := s.handlers(objects, advertise, started)
	if err != nil {
		return err
	}
	if member.Shared() {
		h.servers = objects
	}
	// What serves outlives ctx: requests under way still need it.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, background := errgroup.WithContext(background)
	g.Go(func() error { return objects.Run(background) })
	server := s.serve(g, listeners, h.routes())
	g.Go(func() error { return s.boot(background, objects, h, advertise, started) })

	grace := gracePeriod
	select {
	case <-ctx.Done():
		h.withdraw(ctx, advertise)
	case <-background.Done(): // one of the above has failed; g.Wait says why
	case <-member.Failed():
		grace = 0 // requests under way wait for what will not come
	}
	s.shutdown(server, h, grace)
	stop()
	err = g.Wait()
	if cause := member.Err(); cause != nil {
		return cause
	}
	return err
}

// boot waits for the store, makes the cluster's own objects, says that the server is
// ready, and keeps these objects from then on.
func (s *Server) boot(ctx context.Context, objects *store.Store, h *handlers, advertise netip.AddrPort, started chan struct{}) error {
	select {
	case <-objects.Ready():
	case <-ctx.Done():
		return nil
	}
	for {
		g, groupCtx := errgroup.WithContext(ctx)
		g.Go(func() error { return h.bootstrap(groupCtx, advertise) })
		g.Go(func() error { return h.establish(groupCtx) })
		err := g.Wait()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			break
		}
		if !passing(err) {
			return err
		}
		s.log.Info("trying again to make the system's own objects", "err", err)
		select {
		case <-time.After(bootRetry):
		case <-ctx.Done():
			return nil
		}
	}
	close(started)
	close(s.ready)
	s.log.Info("the API server is ready", "address", advertise, "version", Version)
	h.owners.Load() // now, and not earlier: nobody waits for it who doesn't need it
	h.keepKubernetes(ctx, advertise, keepInterval)
	return nil
}

// bootRetry is how long to wait before another attempt at that.
const bootRetry = 100 * time.Millisecond

// passing says whether an error is due to another API server, which starts at the same
// moment and makes the same objects, or to etcd's members, which look for a leader.
func passing(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && slices.Contains([]metav1.StatusReason{
		metav1.StatusReasonConflict, metav1.StatusReasonAlreadyExists, metav1.StatusReasonNotFound,
		metav1.StatusReasonTimeout, metav1.StatusReasonServiceUnavailable,
	}, status.Status().Reason)
}

// keepInterval is how often the Service "kubernetes" is looked after, as upstream.
const keepInterval = 10 * time.Second

// handlers puts together what answers requests.
func (s *Server) handlers(objects *store.Store, advertise netip.AddrPort, started <-chan struct{}) (*handlers, error) {
	h := &handlers{
		kinds:     s.cfg.Kinds,
		resources: collect(objects, s.cfg.Kinds),
		advertise: advertise.String(),
		endpoint:  cmp.Or(s.cfg.ControlPlaneEndpoint, advertise.String()),
		clientCA:  s.cfg.CA.PEM,
		alloc:     s.alloc,
		owners:    owners.New(),
		modes:     s.cfg.AuthorizationMode,
		metrics:   newMetrics(),
		started:   started,
		stall:     s.stall,
		stopping:  make(chan struct{}),
		log:       s.log,
	}
	h.health = newHealth(objects.Ping, objects.Ready(), started, h.stopping, s.log)
	var err error
	if h.authz, h.rules, err = s.authorizer(objects); err != nil {
		return nil, err
	}
	if h.pluginsOff, err = admission.Off(s.cfg.DisableAdmissionPlugins); err != nil {
		return nil, err
	}
	h.issuer, err = auth.NewIssuer(s.cfg.ServiceAccountIssuer, s.cfg.APIAudiences, s.cfg.ServiceAccountKey, h)
	if err != nil {
		return nil, err
	}
	h.tokens = auth.Tokens{Audiences: h.issuer.Audiences, Sorts: []auth.TokenAuthenticator{
		h.issuer, auth.BootstrapTokens{Audiences: h.issuer.Audiences, Objects: h},
	}}
	h.authn = append(auth.Chain{auth.NewCertificates(s.cfg.CA.Pool()), h.tokens}, s.cfg.Authenticators...)
	h.nodes, err = newNodeClient(h.core("nodes").objects, s.cfg.CA, s.cfg.KubeletClient, s.dial)
	h.meter = &usage.Meter{Ask: h.nodes.summary}
	return h, err
}

func (s *Server) etcdConfig() etcd.Config {
	cfg := s.cfg.Etcd
	if cfg.Host == nil {
		cfg.Host = s.cfg.Host
	}
	return cfg
}
