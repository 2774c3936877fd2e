package node

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"orrery.example.org/node/status"
)

func testConfig(t *testing.T) Config {
	t.Helper()
	c := Defaults()
	c.Name, c.NodeIP, c.StateDir, c.Client = "node1", []string{"172.30.0.11", "fd00:10:30::11"}, t.TempDir(), &rest.Config{}
	c, err := c.complete()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNodeStatus(t *testing.T) {
	c, now := testConfig(t), metav1.Now()
	f := facts{resources: corev1.ResourceList{corev1.ResourceCPU: *quantity(2)}}
	for ready, want := range map[bool]string{
		false: "Ready=False KubeletNotReady " + status.NetworkNotReady,
		true:  "Ready=True KubeletReady kubelet is posting ready status",
	} {
		s := c.nodeStatus(f, ready, now)
		last := s.Conditions[len(s.Conditions)-1]
		if got := fmt.Sprintf("%s=%s %s %s", last.Type, last.Status, last.Reason, last.Message); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if pods := s.Allocatable[corev1.ResourcePods]; pods.Value() != 110 {
			t.Errorf("room for %s pods", pods.String())
		}
		if s.DaemonEndpoints.KubeletEndpoint.Port != 10250 || s.Addresses[0].Address != "172.30.0.11" || s.Addresses[1].Address != "fd00:10:30::11" {
			t.Errorf("endpoint %+v, addresses %+v", s.DaemonEndpoints, s.Addresses)
		}
	}
	if len(f.resources) != 1 {
		t.Error("the facts were changed")
	}
}

func TestConfigSaysWhatIsMissing(t *testing.T) {
	_, err := New(Config{NodeIP: []string{"here"}, RenewInterval: time.Hour})
	if err == nil {
		t.Fatal("accepted")
	}
	want := "node : name: a node needs one\n" +
		"node-ip: ParseAddr(\"here\"): unable to parse IP\n" +
		"state-dir: a directory for the Pods' files is needed\n" +
		"a client configuration for the API server is needed\n" +
		"renew-interval 1h0m0s must be shorter than lease-duration 40s"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fake.NewSimpleClientset()
		var broken atomic.Bool
		broken.Store(true)
		api.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return broken.Load(), nil, errors.New("no namespace yet")
		})
		cfg := testConfig(t)
		cfg.Log = slog.New(slog.DiscardHandler)
		n := newNode(cfg, api)
		self := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", UID: "u"}}
		n.self.Store(self)
		ended := make(chan error, 1)
		go func() { ended <- n.keepLease(t.Context()) }()
		time.Sleep(time.Second)
		broken.Store(false)
		lease := func() *coordinationv1.Lease {
			synctest.Wait()
			l, err := api.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "node1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		time.Sleep(2 * time.Second) // the next try comes soon
		first := lease()
		if *first.Spec.HolderIdentity != "node1" || *first.Spec.LeaseDurationSeconds != 40 || first.OwnerReferences[0].UID != "u" {
			t.Errorf("lease %+v", first)
		}
		// Somebody deletes it; the next renewal makes it again.
		if err := api.CoordinationV1().Leases("kube-node-lease").Delete(t.Context(), "node1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if second := lease(); second.Spec.RenewTime.Sub(first.Spec.RenewTime.Time) != 10*time.Second {
			t.Errorf("renewed at %s, then at %s", first.Spec.RenewTime, second.Spec.RenewTime)
		}
	})
}

func TestPace(t *testing.T) {
	var p pace
	var got []time.Duration
	for range 11 {
		got = append(got, p.next())
	}
	if got[0] != 20*time.Millisecond || got[1] != 40*time.Millisecond || got[10] != 7*time.Second {
		t.Errorf("times %v", got)
	}
}
