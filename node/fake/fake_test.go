package fake

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clienttesting "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
)

func must0(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// start runs fake nodes against an API that costs nothing, until stop.
func start(t *testing.T, api kubernetes.Interface) (n *Nodes, stop func()) {
	t.Helper()
	c := Defaults()
	c.Count, c.Address, c.Client, c.Log = 2, "172.30.0.10", &rest.Config{}, slog.New(slog.DiscardHandler)
	must0(t, c.validate())
	n = newNodes(c, api)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop = func() {
		cancel()
		must0(t, <-ended)
		ended <- nil
	}
	t.Cleanup(stop)
	return n, stop
}

// giveRanges is nodeipam's part.
func giveRanges(t *testing.T, api kubernetes.Interface) {
	t.Helper()
	for name, cidr := range map[string]string{"fake1": "10.244.1.0/24", "fake2": "10.244.2.0/24"} {
		eventually(t, name+" is registered", func() bool {
			_, err := api.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"podCIDR":"`+cidr+`"}}`), metav1.PatchOptions{})
			return err == nil
		})
	}
}

func podIP(t *testing.T, api kubernetes.Interface, name string) string {
	t.Helper()
	var ip string
	eventually(t, "Pod "+name+" is Running", func() bool {
		p, err := api.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || p.Status.Phase != corev1.PodRunning {
			return false
		}
		ip = p.Status.PodIP
		return true
	})
	return ip
}

func create(t *testing.T, api kubernetes.Interface, name string) {
	t.Helper()
	_, err := api.CoreV1().Pods("default").Create(t.Context(), testPod(func(p *corev1.Pod) { p.Name, p.UID = name, types.UID("uid-"+name) }), metav1.CreateOptions{})
	must0(t, err)
}

func TestNodesAndTheirPods(t *testing.T) {
	api := clienttesting.NewSimpleClientset()
	n, stop := start(t, api)
	giveRanges(t, api)
	<-n.Ready()
	node, err := api.CoreV1().Nodes().Get(t.Context(), "fake1", metav1.GetOptions{})
	must0(t, err)
	if room := node.Status.Allocatable[corev1.ResourcePods]; node.Labels[TypeLabel] != TypeFake || room.Value() != 110 {
		t.Errorf("labels %v, room for %s", node.Labels, room.String())
	}
	for _, name := range []string{"fake1", "fake2"} {
		eventually(t, name+" has a Lease", func() bool {
			lease, err := api.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), name, metav1.GetOptions{})
			return err == nil && *lease.Spec.HolderIdentity == name
		})
	}

	create(t, api, "one")
	create(t, api, "two")
	one, two := podIP(t, api, "one"), podIP(t, api, "two")
	if one == two || !netip.MustParsePrefix("10.244.1.0/24").Contains(netip.MustParseAddr(one)) {
		t.Errorf("addresses %s and %s", one, two)
	}

	// Another agent finds the nodes and Pods as they are, and does not give away their addresses.
	stop()
	n, _ = start(t, api)
	<-n.Ready()
	create(t, api, "three")
	if three := podIP(t, api, "three"); three == one || three == two || podIP(t, api, "one") != one {
		t.Errorf("the Pod three has %s; one has %s, two %s", three, one, two)
	}

	// Somebody deletes a node: it comes back with its range.
	must0(t, api.CoreV1().Nodes().Delete(t.Context(), "fake1", metav1.DeleteOptions{}))
	eventually(t, "fake1 is Ready again", func() bool {
		node, err := api.CoreV1().Nodes().Get(t.Context(), "fake1", metav1.GetOptions{})
		return err == nil && node.Spec.PodCIDR == "10.244.1.0/24" && node.Status.Conditions[3].Status == corev1.ConditionTrue
	})

	// What a readiness gate was waited for is not said any more when it is open.
	_, err = api.CoreV1().Pods("default").Create(t.Context(), testPod(func(p *corev1.Pod) {
		p.Name, p.UID, p.Spec.ReadinessGates = "gated", "uid-gated", []corev1.PodReadinessGate{{ConditionType: "example.org/gate"}}
	}), metav1.CreateOptions{})
	must0(t, err)
	podIP(t, api, "gated")
	_, err = api.CoreV1().Pods("default").Patch(t.Context(), "gated", types.StrategicMergePatchType,
		[]byte(`{"status":{"conditions":[{"type":"example.org/gate","status":"True"}]}}`), metav1.PatchOptions{}, "status")
	must0(t, err)
	eventually(t, "the gated Pod is Ready", func() bool {
		p, err := api.CoreV1().Pods("default").Get(t.Context(), "gated", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && c.Reason == "" && c.Message == ""
		})
	})

	// A Pod that is asked to go has ended at once.
	_, err = api.CoreV1().Pods("default").Patch(t.Context(), "one", types.MergePatchType,
		[]byte(`{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}`), metav1.PatchOptions{})
	must0(t, err)
	eventually(t, "the Pod is gone", func() bool {
		_, err := api.CoreV1().Pods("default").Get(t.Context(), "one", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	c := Defaults()
	c.Count, c.Address, c.CPU, c.RenewInterval = 0, "here", "many", time.Hour
	err := c.validate()
	want := "count 0: at least 1 is needed\n" +
		"address: ParseAddr(\"here\"): unable to parse IP\n" +
		"cpu \"many\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'\n" +
		"a client configuration for the API server is needed\n" +
		"renew-interval 1h0m0s must be shorter than lease-duration 40s"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
