package performance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// side is one of the two servers and its clients.
type side struct {
	pid    int
	config *rest.Config
	client kubernetes.Interface
	pods   podClient // in JSON
	binary podClient // in protobuf
}

type podClient interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.Pod, error)
	List(ctx context.Context, o metav1.ListOptions) (*corev1.PodList, error)
	Create(ctx context.Context, pod *corev1.Pod, o metav1.CreateOptions) (*corev1.Pod, error)
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*corev1.Pod, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// list reads all Pods, in pages if limit isn't 0.
func (s *side) list(ctx context.Context, pods podClient, limit int64) error {
	o := metav1.ListOptions{Limit: limit}
	for n := 0; ; {
		l, err := pods.List(ctx, o)
		if err != nil {
			return err
		}
		n += len(l.Items)
		if o.Continue = l.Continue; o.Continue != "" {
			continue
		}
		if n != benchPods {
			return fmt.Errorf("listed %d Pods of %d", n, benchPods)
		}
		return nil
	}
}

// cpu is the CPU time that the server's process has used so far.
func (s *side) cpu(b *testing.B) time.Duration { return cpuOf(b, s.pid) }

func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil { // man clock_getcpuclockid
		b.Fatalf("read the CPU clock of process %d: %v", pid, err)
	}
	return time.Duration(t.Nano())
}

type apiBench struct {
	ours, theirs side
	prepare      sync.Once
}

// startAPI runs both servers until the benchmark ends.
func startAPI(b *testing.B) *apiBench {
	b.Helper()
	dir := b.TempDir()
	b.Setenv("XDG_STATE_HOME", dir)
	certificates := filepath.Join(dir, "pki")
	server := serve(b, []string{"serve", "apiserver", "--bind-address", "127.0.0.1:26443", "--pki-dir", certificates, "--etcd-data-dir", filepath.Join(dir, "etcd")})
	b.Cleanup(func() { stop(b, server) })
	kubeconfig := filepath.Join(certificates, "admin.kubeconfig")
	await(b, kubeconfig)
	httpClient, url := client(b, kubeconfig)
	writeUntilAccepted(b, httpClient, url)

	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "ORRERY_PREPARED="+certificates)
	other.Stderr = os.Stderr
	stdin, err := other.StdinPipe()
	if err == nil {
		err = other.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close() // which ends it
		_ = other.Wait()
	})
	a := &apiBench{ours: newSide(b, kubeconfig, server.Process.Pid, ""), theirs: newSide(b, kubeconfig, other.Process.Pid, "https://"+preparedAddress)}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: benchNamespace}}
	if _, err := a.ours.client.CoreV1().Namespaces().Create(b.Context(), ns, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}} // no controller makes it here
	if _, err := a.ours.client.CoreV1().ServiceAccounts(benchNamespace).Create(b.Context(), account, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	return a
}

func newSide(b *testing.B, kubeconfig string, pid int, url string) side {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		b.Fatal(err)
	}
	config.QPS, config.ContentType = -1, "application/json"
	config.AcceptContentTypes = config.ContentType
	if url != "" {
		config.Host, config.ServerName = url, "localhost"
	}
	protobuf := rest.CopyConfig(config)
	protobuf.AcceptContentTypes = "application/vnd.kubernetes.protobuf"
	s := side{pid: pid, config: config, client: kubernetes.NewForConfigOrDie(config)}
	s.pods = s.client.CoreV1().Pods(benchNamespace)
	s.binary = kubernetes.NewForConfigOrDie(protobuf).CoreV1().Pods(benchNamespace)
	return s
}
