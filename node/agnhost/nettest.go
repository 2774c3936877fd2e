package agnhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// rounds is how often nettest greets its peers: new ones may be told of late.
const rounds = 15

// nettest greets the Pods of a Service that do the same, and tells whether it was heard
// by enough of them and heard enough of them.
type nettestServer struct {
	*program
	peers              int
	service, namespace string
	pause, patience    time.Duration // between two looks, and for the peers to come

	mu    sync.Mutex
	state nettestState
	quit  chan struct{} // holds a token when somebody wants it to end
}

// nettestState is what /read shows.
type nettestState struct {
	Hostname             string
	Sent, Received       map[string]int // by host name of the peer
	Errors, Log          []string
	StillContactingPeers bool
}

// greeting is what is posted to /write.
type greeting struct{ Source, Dest string }

func nettest(ctx context.Context, p *program) error {
	s := &nettestServer{program: p, quit: make(chan struct{}, 1)}
	port := p.flags.Int("port", 8080, "Port number to serve at.")
	delay := p.flags.Int("delay-shutdown", 0, "Number of seconds to delay shutdown when receiving SIGTERM.")
	p.flags.IntVar(&s.peers, "peers", 8, "Must find at least this many peers for the test to pass.")
	p.flags.StringVar(&s.service, "service", "nettest", "Service to find other network test pods in.")
	p.flags.StringVar(&s.namespace, "namespace", "default", "Namespace of this pod.")
	if err := p.parse(0); err != nil {
		return err
	}
	if s.service == "" {
		return errors.New("Must provide -service flag.")
	}
	// In a large cluster, not too many questions a second.
	s.pause = max(5*time.Second, time.Duration(s.peers/10)*time.Second)
	s.patience = max(5*time.Minute, time.Duration(s.peers)*time.Second)
	s.state = nettestState{Hostname: p.hostname(), Sent: map[string]int{}, Received: map[string]int{}, StillContactingPeers: true}
	client, err := p.cluster()
	if err != nil {
		return fmt.Errorf("Unable to create config; error: %w", err)
	}
	ln, err := p.Host.Listen(ctx, "tcp", ":"+strconv.Itoa(*port))
	if err != nil {
		return err
	}
	return s.serve(ctx, ln, client, time.Duration(*delay)*time.Second)
}

func (s *nettestServer) serve(ctx context.Context, ln net.Listener, client kubernetes.Interface, delay time.Duration) error {
	web := &http.Server{Handler: s.handler(), ReadHeaderTimeout: time.Minute}
	asking, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	defer web.Close()
	failed := make(chan error, 2)
	beside.Go(func() { failed <- web.Serve(ln) })
	beside.Go(func() {
		if err := s.greetPeers(asking, client); err != nil && asking.Err() == nil {
			failed <- err
		}
	})
	s.Ready()
	select {
	case err := <-failed:
		return err
	case <-s.quit:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-time.After(delay):
	case <-s.Killed:
	}
	return nil
}

// cluster is the API as a Pod's ServiceAccount sees it.
func (p *program) cluster() (kubernetes.Interface, error) {
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	host, _ := p.variable("KUBERNETES_SERVICE_HOST")
	port, _ := p.variable("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, rest.ErrNotInCluster
	}
	token, err := p.read(account + "token")
	if err != nil {
		return nil, err
	}
	ca, err := p.read(account + "ca.crt")
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(&rest.Config{
		Host: "https://" + net.JoinHostPort(host, port), BearerToken: string(token), UserAgent: "agnhost",
		TLSClientConfig: rest.TLSClientConfig{CAData: ca}, Dial: p.Host.Dial,
		ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"},
	})
}

// greetPeers waits for the peers, and greets them again and again.
func (s *nettestServer) greetPeers(ctx context.Context, client kubernetes.Interface) error {
	defer s.change(func(state *nettestState) { state.StillContactingPeers = false })
	end := time.Now().Add(s.patience)
	for {
		version, err := client.Discovery().ServerVersion()
		if err == nil {
			s.log.Printf("Server version: %s", version)
			break
		}
		s.log.Printf("Unable to get server version: %v; retrying.", err)
		if !time.Now().Before(end) || !s.wait(ctx) {
			return fmt.Errorf("Unable to contact Kubernetes: %w", err)
		}
	}
	for end = time.Now().Add(s.patience); time.Now().Before(end) && ctx.Err() == nil; s.wait(ctx) {
		peers := s.find(ctx, client)
		if len(peers) >= s.peers {
			break
		}
		s.note("%v/%v has %v endpoints (%v), which is less than %v as expected. Waiting for all endpoints to come up.",
			s.namespace, s.service, len(peers), peers, s.peers)
	}
	for range rounds {
		for _, peer := range s.find(ctx, client) {
			s.note("Attempting to contact http://%s", peer)
			s.greet(ctx, peer)
		}
		if !s.wait(ctx) {
			return nil
		}
	}
	return nil
}

// wait says whether it was not cut short.
func (s *nettestServer) wait(ctx context.Context) bool {
	select {
	case <-time.After(s.pause):
		return true
	case <-ctx.Done():
		return false
	}
}

// find lists the Service's addresses, each with its port.
func (s *nettestServer) find(ctx context.Context, client kubernetes.Interface) (peers []string) {
	endpoints, err := client.CoreV1().Endpoints(s.namespace).Get(ctx, s.service, metav1.GetOptions{})
	if err != nil {
		s.note("Unable to read the endpoints for %v/%v: %v.", s.namespace, s.service, err)
		return nil
	}
	for _, subset := range endpoints.Subsets {
		for _, address := range subset.Addresses {
			for _, port := range portsOf(subset) {
				peers = append(peers, net.JoinHostPort(address.IP, port))
			}
		}
	}
	return peers
}

func portsOf(subset corev1.EndpointSubset) (ports []string) {
	for _, port := range subset.Ports {
		ports = append(ports, strconv.Itoa(int(port.Port)))
	}
	return ports
}
