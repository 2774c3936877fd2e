package controller_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/apiserver"
	"orrery.example.org/apiserver/etcd"
	"orrery.example.org/controller"
	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// cluster is a real API server with a running manager, and nodes that the test plays.
type cluster struct {
	*kubernetes.Clientset
	t         *testing.T
	ctx       context.Context
	config    *rest.Config // the manager's
	scheduler *rest.Config
	admin     *rest.Config
	ca        *pki.CA
	log       *slog.Logger
}

// start runs both until the test ends.
func start(t *testing.T, change ...func(*controller.Config)) *cluster {
	t.Helper()
	c := serve(t)
	cfg := controller.Defaults()
	cfg.Client, cfg.Scheduler, cfg.Log = c.config, c.scheduler, c.log
	for _, f := range change {
		f(&cfg)
	}
	c.manage(cfg)
	return c
}

// serve runs the API server alone. modes are its authorization-mode.
func serve(t *testing.T, modes ...string) *cluster {
	t.Helper()
	ca, err := pki.NewCA("kubernetes")
	must(t, err)
	issue := func(r pki.Request) pki.Pair {
		p, err := ca.Issue(r)
		must(t, err)
		return p
	}
	level := slog.LevelError
	if os.Getenv("ORRERY_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ln, err := (*host.Host)(nil).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	server, err := apiserver.New(apiserver.Config{
		Listeners:        []net.Listener{ln},
		AdvertiseAddress: "172.30.0.2:6443", AuthorizationMode: modes,
		Etcd:          etcd.Config{DataDir: t.TempDir(), UnsafeNoFsync: true},
		CA:            ca,
		Serving:       issue(pki.Request{User: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}),
		KubeletClient: issue(pki.APIServerClient),
		Log:           log,

		DisableAdmissionPlugins: []string{"ServiceAccount"}, // most tests run one controller, not the one that makes accounts
	})
	must(t, err)
	background(t, "API server", server.Run, server.Ready())
	url := "https://" + ln.Addr().String()
	admin := pki.ClientConfig(url, ca, issue(pki.Admin))
	return &cluster{
		Clientset: kubernetes.NewForConfigOrDie(admin), t: t, ctx: t.Context(), log: log,
		admin:     admin,
		ca:        ca,
		config:    pki.ClientConfig(url, ca, issue(pki.ControllerManager)),
		scheduler: pki.ClientConfig(url, ca, issue(pki.Scheduler)),
	}
}

// manage runs a manager beside the API server.
func (c *cluster) manage(cfg controller.Config) (stop func()) {
	c.t.Helper()
	m, err := controller.New(cfg)
	must(c.t, err)
	return background(c.t, "manager", m.Run, m.Ready())
}

// background runs a component until the test ends, or until stop is called.
func background(t *testing.T, name string, run func(context.Context) error, ready <-chan struct{}) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("%s does not end", name)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("%s ended before it was ready: %v", name, err)
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not get ready", name)
	}
	return stop
}

// node makes a ready node and plays its agent: Pods bound to it run and become ready,
// and Pods that are being deleted go.
func (c *cluster) node(name string) *agent {
	c.t.Helper()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceCPU: resource.MustParse("2")},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
				LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
			}},
		},
	}
	made, err := c.CoreV1().Nodes().Create(c.ctx, node, metav1.CreateOptions{})
	must(c.t, err)
	made.Status = node.Status
	_, err = c.CoreV1().Nodes().UpdateStatus(c.ctx, made, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		err = c.reportReady(name)
	}
	must(c.t, err)
	a := &agent{cluster: c, name: name, ips: map[types.UID]string{}}
	a.run()
	return a
}

// reportReady is the part of an agent that says that its node is well.
func (c *cluster) reportReady(name string) error {
	patch, _ := json.Marshal(map[string]any{"status": map[string]any{
		"allocatable": map[string]any{"pods": "110", "cpu": "2"},
		"conditions": []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
			LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}},
	}})
	_, err := c.CoreV1().Nodes().Patch(c.ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// agent is a node's agent.
type agent struct {
	*cluster
	name string
	mu   sync.Mutex
	dead bool
	ips  map[types.UID]string
}

func (a *agent) run() {
	factory := informers.NewSharedInformerFactoryWithOptions(a.Clientset, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = "spec.nodeName=" + a.name
	}))
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { a.see(obj.(*corev1.Pod)) },
		UpdateFunc: func(_, obj any) { a.see(obj.(*corev1.Pod)) },
	})
	must(a.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	factory.StartWithContext(ctx)
	a.t.Cleanup(func() { cancel(); factory.Shutdown() })
}

func (a *agent) see(pod *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.dead:
	case pod.DeletionTimestamp != nil:
		err := a.CoreV1().Pods(pod.Namespace).Delete(context.Background(), pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		if err != nil && !apierrors.IsNotFound(err) {
			a.log.Debug("agent", "err", err)
		}
	case pod.Status.PodIP == "" && pod.Annotations["test/hold"] == "":
		if err := a.setReady(pod, true); err != nil {
			a.log.Debug("agent", "err", err)
		}
	}
}

var nextIP struct {
	sync.Mutex
	n int
}

func newIP() string {
	nextIP.Lock()
	defer nextIP.Unlock()
	nextIP.n++
	return fmt.Sprintf("10.244.%d.%d", nextIP.n/250, nextIP.n%250+2)
}

// setReady writes a running Pod's readiness.
func (c *cluster) setReady(pod *corev1.Pod, ready bool) error {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	ip := pod.Status.PodIP
	if ip == "" {
		ip = newIP()
	}
	patch, _ := json.Marshal(map[string]any{"status": map[string]any{
		"phase": corev1.PodRunning, "podIP": ip, "podIPs": []corev1.PodIP{{IP: ip}},
		"conditions": []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.Now()}},
	}})
	_, err := c.CoreV1().Pods(pod.Namespace).Patch(context.Background(), pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// renew renews the node's lease once.
func (a *agent) renew() {
	a.t.Helper()
	now := metav1.NowMicro()
	leases := a.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	lease, err := leases.Get(a.ctx, a.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(a.ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: a.name},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &a.name, RenewTime: &now},
		}, metav1.CreateOptions{})
	} else if err == nil {
		lease.Spec.RenewTime = &now
		_, err = leases.Update(a.ctx, lease, metav1.UpdateOptions{})
	}
	must(a.t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what the loops bring about.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
