package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/proxy/iptables"
	"orrery.example.org/proxy/nftables"
	"orrery.example.org/proxy/plan"
	"orrery.example.org/test/machine"
)

// TestDataPlane breaks what stands behind packets while Services come and go: the proxy
// is killed at any moment, and then the API server. Meanwhile a connection that is there
// goes on, a Service that nobody changes answers at every moment, and in the end the
// kernel holds what the API says.
func TestDataPlane(t *testing.T) {
	for _, mode := range []string{"iptables", "nftables"} {
		t.Run(mode, func(t *testing.T) {
			m := machine.New(t)
			m.Load(0, 300, 0)
			steady := m.Create("steady", machine.Reachable)
			probe := m.NewProbe("probe")
			proxy := m.StartProxy(mode)
			m.Until(steady, true)
			conn, err := m.Dial(steady)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()

			t.Run("the proxy is killed", func(t *testing.T) {
				stop := churn(t, m)
				for range 8 {
					time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
					proxy.Kill()
					alive(t, m, conn, steady)
					proxy = m.StartProxy(mode)
				}
				stop()
				probe.Flip(true)
				alive(t, m, conn, steady)
				holds(t, m, mode)
			})
			t.Run("the API server is gone", func(t *testing.T) {
				m.APIServer.Kill()
				for range 20 {
					alive(t, m, conn, steady)
					if _, err := m.Dial(probe.ClusterIP); err != nil {
						t.Errorf("without an API server: %v", err)
					}
					time.Sleep(20 * time.Millisecond)
				}
				m.StartAPIServer()
				m.Eventually("the API server is back", func() error {
					_, err := m.Client.CoreV1().Services("default").Get(t.Context(), "probe", metav1.GetOptions{})
					return err
				})
				probe.Flip(false)
				alive(t, m, conn, steady)
				holds(t, m, mode)
			})
		})
	}
}

// churn changes Services until stop is called.
func churn(t *testing.T, m *machine.Machine) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for i := 300; ctx.Err() == nil; i++ {
			m.Create(fmt.Sprint("s", i), machine.Unreachable(i, 3)...)
			m.SetEndpoints(fmt.Sprint("s", rand.IntN(300)), machine.Unreachable(i, rand.IntN(4))...)
			if err := m.Client.CoreV1().Services("default").Delete(ctx, fmt.Sprint("s", i), metav1.DeleteOptions{}); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// alive uses the old connection, and makes a new one.
func alive(t *testing.T, m *machine.Machine, conn net.Conn, steady string) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("?")); err != nil {
		t.Fatalf("the connection: %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the connection: %v", err)
	}
	another, err := m.Dial(steady)
	if err != nil {
		t.Errorf("a new connection to a Service that did not change: %v", err)
		return
	}
	_ = another.Close()
}

// holds waits until the kernel holds what the API says: somebody else's full sync finds
// nothing to write.
func holds(t *testing.T, m *machine.Machine, mode string) {
	t.Helper()
	var backend interface {
		Start(context.Context) error
		Check(context.Context, plan.Snapshot) ([]string, error)
	}
	if mode == "nftables" {
		a := nftables.New(nftables.Config{Host: m.Place, Settings: nftables.Settings{Family: plan.IPv4, MasqueradeBit: 14}})
		defer func() { _ = a.Close() }()
		backend = a
	} else {
		backend = iptables.New(iptables.Config{Host: m.Place, Family: plan.IPv4, MasqueradeBit: 14, LocalhostNodePorts: true})
	}
	if err := backend.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Eventually("the kernel holds what the API says", func() error {
		wrong, err := backend.Check(t.Context(), snapshot(t, m))
		if err == nil && len(wrong) > 0 {
			err = fmt.Errorf("%q", wrong)
		}
		return err
	})
}

// snapshot is what the API says, read afresh.
func snapshot(t *testing.T, m *machine.Machine) plan.Snapshot {
	t.Helper()
	list := metav1.ListOptions{LabelSelector: "!" + corev1.IsHeadlessService}
	services, err := m.Client.CoreV1().Services("").List(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	slices, err := m.Client.DiscoveryV1().EndpointSlices("").List(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	s := plan.Snapshot{Services: map[plan.Name]*plan.Service{}}
	s.Local.CIDR = netip.MustParsePrefix("10.244.0.0/16")
	for i := range services.Items {
		svc := &services.Items[i]
		var its []*discoveryv1.EndpointSlice
		for k := range slices.Items {
			if slice := &slices.Items[k]; slice.Namespace == svc.Namespace && slice.Labels[discoveryv1.LabelServiceName] == svc.Name {
				its = append(its, slice)
			}
		}
		p := plan.Of(svc, its, plan.Node{Family: plan.IPv4, Name: "node1"})
		s.Services[p.Name] = p
	}
	return s
}
