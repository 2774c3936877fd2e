// Package elsewhere is somebody else's module whose tests use a cluster.
package elsewhere

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"orrery.example.org/lab/labtest"
)

// TestServiceAnswers creates a Deployment and a NodePort Service and asks it from here.
func TestServiceAnswers(t *testing.T) {
	t.Parallel()
	cluster := labtest.Start(t, labtest.Nodes(2))
	client := kubernetes.NewForConfigOrDie(cluster.Config)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	labels := map[string]string{"app": "web"}
	replicas := int32(2)
	_, err := client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service, err := client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("http://127.0.0.1:%d", service.Spec.Ports[0].NodePort)
	for {
		body, err := get(ctx, url)
		if err == nil && strings.Contains(body, "web-") {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s never answered: %q, %v", url, body, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestClustersAreSeparate runs beside the other one: same names, other cluster.
func TestClustersAreSeparate(t *testing.T) {
	t.Parallel()
	cluster := labtest.Start(t)
	client := kubernetes.NewForConfigOrDie(cluster.Config)
	nodes, err := client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) != 1 {
		t.Errorf("there are %d nodes", len(nodes.Items))
	}
	if _, err := client.AppsV1().Deployments("default").Get(context.Background(), "web", metav1.GetOptions{}); err == nil {
		t.Error("the other test's Deployment is here")
	}
	if _, err := os.Stat(cluster.Kubeconfig); err != nil {
		t.Error(err)
	}
}

// TestClusterEndsWithTheTest starts a cluster in a subtest and looks for it afterwards.
func TestClusterEndsWithTheTest(t *testing.T) {
	var dir string
	t.Run("inner", func(t *testing.T) {
		dir = filepath.Dir(labtest.Start(t).Kubeconfig)
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the cluster's directory is still there: %v", err)
	}
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
