package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/dns/cache"
)

// Server is one DNS server.
type Server struct {
	cfg       Config
	log       *slog.Logger
	clientset kubernetes.Interface
	index     *index
	settings  atomic.Pointer[settings]
	changed   chan struct{} // told when they have
	cache     *cache.Cache  // of upstreams' replies
	metrics   *metrics
	ready     chan struct{}
	sockets   sockets
	locals    []netip.Addr // the server's own addresses

	watchPods  func()        // closes podsWanted
	podsWanted chan struct{} // closed where Pods are to be watched
	podsSynced chan struct{} // closed when they have all been heard of
}

// New prepares a server. It opens nothing and starts nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("dns configuration: %w", err)
	}
	s := &Server{
		cfg:       cfg,
		log:       cfg.Log,
		clientset: cfg.clientset,
		index:     &index{view: newView()},
		changed:   make(chan struct{}, 1),
		metrics:   newMetrics(cfg.Listen[0]),
		ready:     make(chan struct{}),

		podsWanted: make(chan struct{}),
		podsSynced: make(chan struct{}),
	}
	s.watchPods = sync.OnceFunc(func() { close(s.podsWanted) })
	if s.log == nil {
		s.log = slog.Default()
	}
	set, err := s.newSettings(cfg)
	if err != nil {
		return nil, fmt.Errorf("dns configuration: %w", err)
	}
	s.settings.Store(set)
	s.cache = cache.New(set.cacheLimits(), s.metrics.cache)
	if s.clientset == nil {
		client := rest.CopyConfig(cfg.Client)
		client.ContentType = "application/vnd.kubernetes.protobuf"
		client.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
		client.QPS = -1 // a handful of watches; their own back-off is limit enough
		clientset, err := kubernetes.NewForConfig(client)
		if err != nil {
			return nil, fmt.Errorf("client for the API: %w", err)
		}
		s.clientset = clientset
	}
	return s, nil
}

// Ready is closed when the sockets are open and everything has been heard of once.
// Until then names of the cluster are answered SERVFAIL: that they do not exist is
// what nobody can know yet.
func (s *Server) Ready() <-chan struct{} { return s.ready }

func (s *Server) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// Run serves until ctx ends. An API that cannot be reached is waited for; an address
// that cannot be listened on is an error.
func (s *Server) Run(ctx context.Context) error {
	if err := s.listen(ctx); err != nil {
		s.sockets.close()
		return err
	}
	return s.serve(ctx)
}

// serve runs what Run has opened the sockets for.
func (s *Server) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, s.sockets.close)
	defer stop()
	for _, conn := range s.sockets.udp {
		g.Go(func() error { return s.serveUDP(ctx, conn) })
	}
	for _, listener := range s.sockets.tcp {
		g.Go(func() error { return s.serveTCP(ctx, listener) })
	}
	for _, endpoint := range s.sockets.http {
		g.Go(func() error { return endpoint.serve(ctx) })
	}
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error { return s.keepForwarding(ctx) })
	g.Go(func() error { return s.follow(ctx) })
	return g.Wait()
}

// sockets are everything the server listens on.
type sockets struct {
	udp  []*net.UDPConn
	tcp  []net.Listener
	http []*httpEndpoint
}

func (s *sockets) close() {
	for _, conn := range s.udp {
		_ = conn.Close()
	}
	for _, listener := range s.tcp {
		_ = listener.Close()
	}
	for _, endpoint := range s.http {
		_ = endpoint.listener.Close()
	}
}

// listen opens all sockets. TCP comes first: of two servers on one address it lets
// only one live, where UDP sockets that share a port would split the queries.
func (s *Server) listen(ctx context.Context) error {
	for _, address := range s.cfg.Listen {
		listener, err := s.cfg.Host.Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("listen for DNS by TCP: %w", err)
		}
		s.sockets.tcp = append(s.sockets.tcp, listener)
		// The listener's address rather than the configured one: port 0 is now a number.
		for range runtime.GOMAXPROCS(0) {
			conn, err := s.cfg.Host.ListenPacket(ctx, "udp", listener.Addr().String(), true)
			if err != nil {
				return fmt.Errorf("listen for DNS by UDP: %w", err)
			}
			s.sockets.udp = append(s.sockets.udp, conn.(*net.UDPConn))
		}
		if err := s.addLocals(listener.Addr().(*net.TCPAddr).AddrPort().Addr()); err != nil {
			return err
		}
	}
	set, err := s.newSettings(s.cfg) // now that the own addresses are known
	if err != nil {
		return err
	}
	s.settings.Store(set)
	return s.listenHTTP(ctx)
}

// addLocals notes the addresses under which clients reach a listening address.
func (s *Server) addLocals(listening netip.Addr) error {
	if !listening.IsUnspecified() {
		s.locals = append(s.locals, listening.Unmap())
		return nil
	}
	return s.cfg.Host.Do(func() error {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return fmt.Errorf("list own addresses: %w", err)
		}
		for _, addr := range addrs {
			ip, ok := netip.AddrFromSlice(addr.(*net.IPNet).IP)
			if ok && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
				s.locals = append(s.locals, ip.Unmap())
			}
		}
		return nil
	})
}
