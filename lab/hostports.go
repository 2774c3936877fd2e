package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
)

// A NodePort is reachable from this machine on 127.0.0.1, at its own number: what
// arrives there is carried into the lab and sent on from outside of the cluster, so that
// it takes the path of any external client. The NodePorts of a load balancer lead to the
// balancer's address, and so do its ports that have no NodePort: they get any free
// number here, which an annotation of the Service tells.

// localhostAnnotation names where this machine finds the ports of a load balancer that
// have no NodePort: "80/TCP=127.0.0.1:40001", with commas between them.
const localhostAnnotation = "lab.orrery.example.org/localhost"

// servicePort is a port of a Service.
type servicePort struct {
	service  types.NamespacedName
	protocol corev1.Protocol
	port     int32
}

// hostPort is where a port is to be reachable, and where that leads.
type hostPort struct {
	number int32
	any    bool // another number will do
	target netip.AddrPort
}

// hostPorts are the listeners on this machine.
type hostPorts struct {
	c     *cluster
	mu    sync.Mutex
	open  map[servicePort]openPort
	taken map[servicePort]bool // what somebody else has, and we have said so
}

type openPort struct {
	hostPort
	forwarder *forwarder
}

func newHostPorts(c *cluster) *hostPorts {
	return &hostPorts{c: c, open: map[servicePort]openPort{}, taken: map[servicePort]bool{}}
}

// portRetry is how often a port is tried that somebody else has. That may be ourselves for
// a moment: a program that is being started holds a port that was closed just now.
const portRetry = 500 * time.Millisecond

// run follows the Services until ctx ends.
func (h *hostPorts) run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(h.c.admin, 0)
	services := factory.Core().V1().Services()
	changed, _, err := changes(services.Informer())
	if err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	defer h.sync(ctx, nil)
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry:
		}
		all, err := services.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		retry = nil
		if !h.sync(ctx, wantedPorts(all)) {
			retry = time.After(portRetry)
		}
		for _, svc := range all {
			if err := h.annotate(ctx, svc); err != nil && ctx.Err() == nil {
				h.c.logger("hostports").Warn("cannot tell where a load balancer is on this machine", "service", svc.Name, "error", err)
			}
		}
	}
}

// wantedPorts are the ports of all Services that are reachable from outside.
func wantedPorts(services []*corev1.Service) map[servicePort]hostPort {
	wanted := map[servicePort]hostPort{}
	for _, s := range services {
		balancer := balancerOf(s)
		remembered := parseLocalhost(s.Annotations[localhostAnnotation])
		for _, p := range s.Spec.Ports {
			key := servicePort{types.NamespacedName{Namespace: s.Namespace, Name: s.Name}, p.Protocol, p.Port}
			switch {
			case p.Protocol != corev1.ProtocolTCP && p.Protocol != corev1.ProtocolUDP:
			case balancer.IsValid() && p.NodePort == 0:
				wanted[key] = hostPort{remembered[portText(key)], true, netip.AddrPortFrom(balancer, uint16(p.Port))}
			case balancer.IsValid():
				wanted[key] = hostPort{p.NodePort, false, netip.AddrPortFrom(balancer, uint16(p.Port))}
			case p.NodePort != 0:
				wanted[key] = hostPort{p.NodePort, false, netip.AddrPortFrom(firstNodeOf(s), uint16(p.NodePort))}
			}
		}
	}
	return wanted
}

// firstNodeOf is an address at which the NodePorts of a Service answer: the first node's,
// of the Service's first family.
func firstNodeOf(s *corev1.Service) netip.Addr {
	if len(s.Spec.IPFamilies) > 0 && s.Spec.IPFamilies[0] == corev1.IPv6Protocol {
		return six(nodeAddress(1))
	}
	return nodeAddress(1)
}

// balancerOf is the address that the lab's load balancer has for a Service.
func balancerOf(s *corev1.Service) netip.Addr {
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil && (balancerPool.Contains(a) || balancerPool6.Contains(a)) {
			return a
		}
	}
	return netip.Addr{}
}

// sync opens and closes listeners, and tells whether all that are wanted are open.
func (h *hostPorts) sync(ctx context.Context, wanted map[servicePort]hostPort) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, o := range h.open {
		w, ok := wanted[key]
		if w.any { // what was chosen stays
			w.number = o.number
		}
		if !ok || w != o.hostPort {
			o.forwarder.close()
			delete(h.open, key)
		}
	}
	for key, w := range wanted {
		if _, ok := h.open[key]; ok {
			continue
		}
		f, err := h.listen(ctx, key.protocol, w)
		if err != nil {
			if !h.taken[key] {
				h.c.logger("hostports").Warn("a port is not reachable from this machine", "service", key.service, "port", w.number, "error", err)
			}
			h.taken[key] = true
			continue
		}
		w.number = f.number
		h.open[key] = openPort{w, f}
		delete(h.taken, key)
	}
	maps.DeleteFunc(h.taken, func(key servicePort, _ bool) bool { _, ok := wanted[key]; return !ok })
	return len(h.open) == len(wanted)
}

func (h *hostPorts) listen(ctx context.Context, protocol corev1.Protocol, w hostPort) (*forwarder, error) {
	forward := forwardTCP
	if protocol == corev1.ProtocolUDP {
		forward = forwardUDP
	}
	from := h.c.fabric.hosts[outside]
	f, err := forward(ctx, w.number, from, w.target)
	if err != nil && w.any && w.number != 0 {
		f, err = forward(ctx, 0, from, w.target)
	}
	return f, err
}

// at is where a port is reachable on this machine, "" if it is not.
func (h *hostPorts) at(key servicePort) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o, ok := h.open[key]; ok {
		return localhost(o.number)
	}
	return ""
}

// annotate writes the numbers that were chosen here into the Service.
func (h *hostPorts) annotate(ctx context.Context, svc *corev1.Service) error {
	text := h.chosen(types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name})
	if text == svc.Annotations[localhostAnnotation] {
		return nil
	}
	annotations := map[string]any{localhostAnnotation: text}
	if text == "" {
		annotations[localhostAnnotation] = nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": svc.UID, "annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = h.c.admin.CoreV1().Services(svc.Namespace).Patch(ctx, svc.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // there will be news of it
		return nil
	}
	return err
}

// chosen is the annotation of a Service.
func (h *hostPorts) chosen(service types.NamespacedName) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var texts []string
	for key, o := range h.open {
		if key.service == service && o.any {
			texts = append(texts, portText(key)+"="+localhost(o.number))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

// parseLocalhost reads an annotation: the number of each port. What is not understood is
// left out, and gets a new number.
func parseLocalhost(text string) map[string]int32 {
	numbers := map[string]int32{}
	for part := range strings.SplitSeq(text, ",") {
		port, address, _ := strings.Cut(part, "=")
		if a, err := netip.ParseAddrPort(address); err == nil && a.Addr() == loopback {
			numbers[port] = int32(a.Port())
		}
	}
	return numbers
}

var loopback = netip.MustParseAddr("127.0.0.1")

func localhost(number int32) string {
	return netip.AddrPortFrom(loopback, uint16(number)).String()
}

func portText(key servicePort) string { return fmt.Sprintf("%d/%s", key.port, key.protocol) }
