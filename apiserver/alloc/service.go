package alloc

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"orrery.example.org/api"
)

var service = corev1.SchemeGroupVersion.WithKind("Service").GroupKind()

// Assign fills in what next still lacks after api's PrepareForCreate or, with what was
// kept of old, PrepareForUpdate: IP families, ClusterIPs, node ports and the health
// check's port. The Grant says what to take and what to give back.
func (a *Allocator) Assign(next, old *corev1.Service, taken Taken) (Grant, error) {
	if err := a.families(next, old); err != nil {
		return Grant{}, err
	}
	held := Names(old)
	w := &wish{Allocator: a, svc: next, taken: taken, held: held}
	if old != nil {
		w.fixed = len(old.Spec.ClusterIPs)
	}
	if err := w.clusterIPs(); err != nil {
		return Grant{}, err
	}
	if err := w.nodePorts(); err != nil {
		return Grant{}, err
	}
	if err := w.healthCheck(); err != nil {
		return Grant{}, err
	}
	return difference(held, Names(next)), nil
}

// Names are all names a stored Service holds; nil holds none.
func Names(s *corev1.Service) []string {
	if s == nil {
		return nil
	}
	var names []string
	if api.ServiceNeedsClusterIP(s) && !api.ServiceIsHeadless(s) {
		for _, ip := range s.Spec.ClusterIPs {
			names = append(names, ipName(canonical(ip)))
		}
	}
	for _, p := range s.Spec.Ports {
		if name := portName(p.NodePort); p.NodePort != 0 && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if p := s.Spec.HealthCheckNodePort; p != 0 {
		names = append(names, portName(p))
	}
	return names
}

func difference(held, wanted []string) Grant {
	var g Grant
	for _, n := range wanted {
		if !slices.Contains(held, n) {
			g.Claim = append(g.Claim, n)
		}
	}
	for _, n := range held {
		if !slices.Contains(wanted, n) {
			g.Release = append(g.Release, n)
		}
	}
	return g
}

// wish is one Service on its way to its values.
type wish struct {
	*Allocator
	svc   *corev1.Service
	taken Taken
	held  []string // what the Service already has, and may therefore ask for
	fixed int      // how many ClusterIPs it had: to ask for others is validation's to refuse
}

func (w *wish) clusterIPs() error {
	spec := &w.svc.Spec
	if !api.ServiceNeedsClusterIP(w.svc) || api.ServiceIsHeadless(w.svc) {
		return nil
	}
	for i, family := range spec.IPFamilies {
		if i >= len(spec.ClusterIPs) {
			ip, err := w.pick(family, w.taken)
			if err != nil {
				return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %w", err))
			}
			spec.ClusterIPs = append(spec.ClusterIPs, ip.String())
			continue
		}
		ip, err := netip.ParseAddr(spec.ClusterIPs[i])
		if err != nil || i < w.fixed || slices.Contains(w.held, ipName(ip.String())) {
			continue // not an address: validation says so
		}
		if err := w.check(ip, w.taken); err != nil {
			return invalid(w.svc, field.Invalid(field.NewPath("spec", "clusterIPs"), spec.ClusterIPs,
				fmt.Sprintf("failed to allocate IP %s: %v", ip, err)))
		}
	}
	if len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	return nil
}

// nodePorts gives each port a node port. The same port number under two protocols
// shares one.
func (w *wish) nodePorts() error {
	spec := &w.svc.Spec
	if spec.Type != corev1.ServiceTypeNodePort && spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	mine := map[int32]int32{} // port -> node port
	for i, p := range spec.Ports {
		if p.NodePort == 0 {
			continue
		}
		mine[p.Port] = p.NodePort
		if slices.Contains(w.held, portName(p.NodePort)) {
			continue
		}
		if err := w.ports.check(p.NodePort, w.taken); err != nil {
			return invalid(w.svc, field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p.NodePort, err.Error()))
		}
	}
	if !api.ServiceNeedsNodePort(w.svc) {
		return nil // requests are honoured, nothing else is given
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		if mine[p.Port] == 0 || w.used(i, mine[p.Port]) {
			port, err := w.pickPort()
			if err != nil {
				return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
			}
			mine[p.Port] = port
		}
		p.NodePort = mine[p.Port]
	}
	return nil
}

// used says whether another port of the same protocol has the node port.
func (w *wish) used(i int, nodePort int32) bool {
	for j, p := range w.svc.Spec.Ports {
		if j != i && p.NodePort == nodePort && p.Protocol == w.svc.Spec.Ports[i].Protocol {
			return true
		}
	}
	return false
}

func (w *wish) healthCheck() error {
	spec := &w.svc.Spec
	if !api.ServiceNeedsHealthCheckNodePort(w.svc) {
		return nil
	}
	if p := spec.HealthCheckNodePort; p != 0 {
		if slices.Contains(w.held, portName(p)) {
			return nil
		}
		if err := w.ports.check(p, w.taken); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %d: %w", p, err))
		}
		return nil
	}
	port, err := w.pickPort()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort: %w", err))
	}
	spec.HealthCheckNodePort = port
	return nil
}

// pickPort avoids also what this Service itself has or asks for.
func (w *wish) pickPort() (int32, error) {
	taken := Taken{}
	for n := range w.taken {
		taken[n] = true
	}
	for _, n := range append(Names(w.svc), w.held...) {
		taken[n] = true
	}
	return w.ports.pick(taken)
}

// canonical makes two spellings of an IPv6 address one name.
func canonical(ip string) string {
	if a, err := netip.ParseAddr(ip); err == nil {
		return a.String()
	}
	return ip
}

func invalid(s *corev1.Service, errs ...*field.Error) error {
	return apierrors.NewInvalid(service, s.Name, errs)
}
