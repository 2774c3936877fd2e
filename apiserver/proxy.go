package apiserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"github.com/gorilla/mux"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/store"
)

// proxyMethods are what can be sent through a proxy.
var proxyMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}

// proxy passes a request on to a Pod, to one of a Service's, or to a node, and what they
// answer back to the client. Links and redirects in that are rewritten so that they lead
// through the proxy again.
//
// Kubernetes: the path behind /proxy is cleaned and unescaped there. Here it arrives as it
// was sent: a//b and a%2Fb name other things than a/b to many a server.
func (h *handlers) proxy(c *call) error {
	if !slices.Contains(proxyMethods, c.r.Method) {
		return errMethodNotAllowed()
	}
	if len(c.r.URL.Query()["dryRun"]) > 0 {
		return apierrors.NewBadRequest("dryRun is not supported")
	}
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(c.name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q", c.kind.Singular, c.name))
	}
	var where *url.URL
	var err error
	transport := h.nodes.toPods
	switch c.kind.Resource {
	case "pods":
		where, err = h.podLocation(c, name, port)
	case "services":
		where, err = h.serviceLocation(c, name, port)
	default:
		where, err = h.nodeLocation(c, name)
		if err == nil && (port == "" || port == where.Port()) { // the agent's own
			scheme, transport = where.Scheme, h.nodes.transport
		} else if err == nil {
			where.Host = net.JoinHostPort(where.Hostname(), port)
		}
	}
	if err != nil {
		return err
	}
	where.Scheme = scheme
	if rest, ok := mux.Vars(c.r)["rest"]; ok {
		to := behindProxy(rest)
		where.Path, where.RawPath = to.Path, to.RawPath
	}
	return h.passOn(c, where, transport, true)
}

// behindProxy is the path that a request goes on with, given its escaped remainder.
func behindProxy(rest string) *url.URL {
	return &url.URL{Path: "/" + unescape(rest), RawPath: "/" + rest}
}

// podLocation is the Pod's address, with its first declared port if none is asked for.
func (h *handlers) podLocation(c *call, name, port string) (*url.URL, error) {
	pod, err := h.pod(c, name)
	if err != nil {
		return nil, err
	}
	for _, container := range pod.Spec.Containers {
		if port == "" && len(container.Ports) > 0 {
			port = strconv.Itoa(int(container.Ports[0].ContainerPort))
		}
	}
	var ip netip.Addr
	if len(pod.Status.PodIPs) > 0 {
		ip, _ = netip.ParseAddr(pod.Status.PodIPs[0].IP)
	}
	if !ip.IsGlobalUnicast() { // somebody may have written 127.0.0.1 into the status, to get at this machine
		return nil, errAddress()
	}
	if port != "" {
		return &url.URL{Host: net.JoinHostPort(ip.String(), port)}, nil
	}
	return &url.URL{Host: bracketed(ip)}, nil
}

func bracketed(ip netip.Addr) string {
	if ip.Is6() {
		return "[" + ip.String() + "]"
	}
	return ip.String()
}

func errAddress() error { return apierrors.NewBadRequest("address not allowed") }

// nodeLocation is where the node's agent listens.
func (h *handlers) nodeLocation(c *call, name string) (*url.URL, error) {
	where, err := h.nodes.location(c.ctx(), name)
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(where.Hostname()); err != nil || !ip.IsGlobalUnicast() {
		return nil, errAddress()
	}
	return where, nil
}

// serviceLocation is one of the Service's ready endpoints. A port is meant by its name;
// a number stands for the name of the Service's port that has it.
func (h *handlers) serviceLocation(c *call, name, port string) (*url.URL, error) {
	if number, err := strconv.ParseInt(port, 10, 64); err == nil {
		v, err := c.objects.Get(c.ctx(), c.namespace, name, false)
		if err != nil {
			return nil, err
		}
		ports := v.Object.(*corev1.Service).Spec.Ports
		i := slices.IndexFunc(ports, func(p corev1.ServicePort) bool { return int64(p.Port) == number })
		if i < 0 {
			return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, name))
		}
		port = ports[i].Name
	}
	all, err := h.slicesOf(c.ctx(), c.namespace, name)
	if err != nil {
		return nil, err
	}
	host, ok := pickEndpoint(all, port, h.family(), func(e *discoveryv1.Endpoint) bool { return h.isPod(c.ctx(), c.namespace, e) })
	if !ok {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	return &url.URL{Host: host}, nil
}

// slicesOf finds the EndpointSlices of a Service, as they are now: who has just made one
// wants to be led there.
func (h *handlers) slicesOf(ctx context.Context, namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	objects, err := h.collection(schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"})
	if err != nil {
		return nil, err
	}
	found, err := objects.List(ctx, store.ListOptions{Namespace: namespace, Match: func(o api.Object) bool {
		return o.GetLabels()[discoveryv1.LabelServiceName] == service
	}})
	if err != nil {
		return nil, err
	}
	var all []*discoveryv1.EndpointSlice
	for _, v := range found.Items {
		all = append(all, v.Object.(*discoveryv1.EndpointSlice))
	}
	return all, nil
}

// family is that of the cluster's first Service CIDR.
func (h *handlers) family() discoveryv1.AddressType {
	if h.alloc.First().Is6() {
		return discoveryv1.AddressTypeIPv6
	}
	return discoveryv1.AddressTypeIPv4
}

// pickEndpoint chooses one of the ready endpoints behind a port at random, of the preferred
// family where there is one, and such that usable says yes.
func pickEndpoint(all []*discoveryv1.EndpointSlice, port string, prefer discoveryv1.AddressType, usable func(*discoveryv1.Endpoint) bool) (string, bool) {
	all = slices.Clone(all)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b *discoveryv1.EndpointSlice) int {
		return rank(a.AddressType, prefer) - rank(b.AddressType, prefer)
	})
	for _, s := range all {
		i := slices.IndexFunc(s.Ports, func(p discoveryv1.EndpointPort) bool {
			return p.Name != nil && *p.Name == port && p.Port != nil
		})
		if i < 0 {
			continue
		}
		for _, n := range rand.Perm(len(s.Endpoints)) {
			e := &s.Endpoints[n]
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if ready && len(e.Addresses) > 0 && usable(e) {
				return net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*s.Ports[i].Port))), true
			}
		}
	}
	return "", false
}

func rank(t, prefer discoveryv1.AddressType) int {
	if t == prefer {
		return 0
	}
	return 1
}

// isPod says whether the endpoint is a Pod of the namespace. Anybody may write
// EndpointSlices; they must not lead this server to other places.
func (h *handlers) isPod(ctx context.Context, namespace string, e *discoveryv1.Endpoint) bool {
	if e.TargetRef == nil || e.TargetRef.Namespace != namespace {
		return false
	}
	o, err := h.Get(ctx, schema.GroupResource{Resource: "pods"}, namespace, e.TargetRef.Name)
	if err != nil {
		return false
	}
	pod, ok := o.(*corev1.Pod)
	return ok && slices.Contains(pod.Status.PodIPs, corev1.PodIP{IP: e.Addresses[0]})
}

// podTransport reaches Pods. Whom their certificates are from, nobody here knows.
func podTransport(dial dialer) *http.Transport {
	return &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 2}
}
