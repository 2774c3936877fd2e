package machine

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// endpointsEach is how many a Service of Load has.
const endpointsEach = 5

// Load makes Services s<from> to s<to>, each with its EndpointSlice. One in every so many
// leads to Reachable, unless that is 0.
func (m *Machine) Load(from, to, every int) {
	m.Helper()
	writers, ctx := errgroup.WithContext(m.Context())
	writers.SetLimit(16)
	for i := from; i < to; i++ {
		writers.Go(func() error {
			endpoints := Unreachable(i, endpointsEach)
			if every > 0 && i%every == 0 {
				endpoints = []string{Reachable}
			}
			_, err := m.create(ctx, fmt.Sprint("s", i), endpoints)
			return err
		})
	}
	if err := writers.Wait(); err != nil {
		m.Fatal(err)
	}
}

// Unreachable are n addresses of nobody.
func Unreachable(i, n int) []string {
	all := make([]string, n)
	for k := range all {
		at := i*n + k
		all[k] = fmt.Sprintf("10.%d.%d.%d", 128+at/62500, at/250%250, at%250+1)
	}
	return all
}

// Create makes a Service with its EndpointSlice and returns its ClusterIP.
func (m *Machine) Create(name string, endpoints ...string) string {
	m.Helper()
	svc, err := m.create(m.Context(), name, endpoints)
	if err != nil {
		m.Fatal(err)
	}
	return svc.Spec.ClusterIP
}

func (m *Machine) create(ctx context.Context, name string, endpoints []string) (*corev1.Service, error) {
	svc, err := m.Client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	_, err = m.Client.DiscoveryV1().EndpointSlices("default").Create(ctx, Slice(name, name, endpoints...), metav1.CreateOptions{})
	return svc, err
}

// ClusterIP is the address of a Service.
func (m *Machine) ClusterIP(name string) string {
	m.Helper()
	svc, err := m.Client.CoreV1().Services("default").Get(m.Context(), name, metav1.GetOptions{})
	if err != nil {
		m.Fatal(err)
	}
	return svc.Spec.ClusterIP
}

// Slice is an EndpointSlice of a Service.
func Slice(name, service string, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, address := range endpoints {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	return s
}

// SetEndpoints changes where a Service made by Create or Load leads to.
func (m *Machine) SetEndpoints(name string, endpoints ...string) {
	m.Helper()
	_, err := m.Client.DiscoveryV1().EndpointSlices("default").Update(m.Context(), Slice(name, name, endpoints...), metav1.UpdateOptions{})
	if err != nil {
		m.Fatal(err)
	}
}

// Probe is a Service whose one endpoint comes and goes.
type Probe struct {
	m         *Machine
	name      string
	ClusterIP string
}

// NewProbe makes one, without its endpoint.
func (m *Machine) NewProbe(name string) Probe {
	m.Helper()
	return Probe{m, name, m.Create(name)}
}

// Flip adds or removes the endpoint and waits until packets follow.
func (p Probe) Flip(on bool) time.Duration {
	p.m.Helper()
	if on {
		p.m.SetEndpoints(p.name, Reachable)
	} else {
		p.m.SetEndpoints(p.name)
	}
	return p.m.Until(p.ClusterIP, on)
}
