package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestRenewal(t *testing.T) {
	issued := time.Unix(1e9, 0)
	for _, c := range []struct{ lifetime, jitter, want time.Duration }{
		{time.Hour, 0, 48 * time.Minute},
		{time.Hour, 10 * time.Second, 48*time.Minute - 10*time.Second},
		{10 * time.Minute, 0, 8 * time.Minute},
		{365 * 24 * time.Hour, time.Second, 24*time.Hour - time.Second},
	} {
		if got := renewal(issued.Add(c.lifetime), c.lifetime, c.jitter).Sub(issued); got != c.want {
			t.Errorf("a token for %v, %v earlier: after %v, want %v", c.lifetime, c.jitter, got, c.want)
		}
	}
}

// TestTokensAreRenewed follows a token over its life, with an API server that fails.
func TestTokensAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, asked, down := tokenKey{"vault", 3600}, 0, false
		ask := func(context.Context, tokenKey) (string, time.Time, error) {
			if asked++; down {
				return "", time.Time{}, errors.New("no answer")
			}
			return fmt.Sprint("token ", asked), time.Now().Add(time.Hour), nil
		}
		var held tokens
		get := func(want string) {
			t.Helper()
			a := held.get(t.Context(), k, ask)
			if a.err != nil {
				a.text = a.err.Error()
			}
			if a.text != want {
				t.Errorf("got %q, want %q", a.text, want)
			}
		}
		waitDue := func() {
			t.Helper()
			due, stop := held.due()
			defer stop()
			<-due
		}
		if due, _ := held.due(); due != nil {
			t.Error("something is due where nothing is held")
		}
		down = true
		get("failed to fetch token: no answer")
		down = false
		get("token 2")
		start := time.Now()
		time.Sleep(47*time.Minute + 49*time.Second)
		get("token 2")
		waitDue()
		if age := time.Since(start); age > 48*time.Minute || age < 48*time.Minute-renewalJitter {
			t.Errorf("due after %v", age)
		}
		down = true
		get("token 2") // it still does
		if asked != 3 {
			t.Errorf("asked %d times", asked)
		}
		waitDue() // not at once
		if age := time.Since(start); age < 48*time.Minute+50*time.Second {
			t.Errorf("tried again after %v", age)
		}
		time.Sleep(time.Until(start.Add(time.Hour + time.Second)))
		get("token expired and refresh failed: no answer")
		down = false
		get("token 5")
	})
}

// withToken adds the volume that admission adds.
func withToken(s *corev1.PodSpec) {
	s.ServiceAccountName = "till"
	withVolume("kube-api-access-x", "/var/run/secrets/kubernetes.io/serviceaccount", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To[int32](0o644),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To[int64](3607)}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
		},
	}})(s)
}

// hasEvent looks for an event whose message ends so.
func (c *cluster) hasEvent(reason, message string) error {
	all, err := c.api.CoreV1().Events("default").List(c.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, e := range all.Items {
		if e.Reason == reason && strings.HasSuffix(e.Message, message) {
			return nil
		}
	}
	return fmt.Errorf("no event %s: %s", reason, message)
}

func TestStoryTokens(t *testing.T) {
	c := startCluster(t, "node1")
	const read = "cd /var/run/secrets/kubernetes.io/serviceaccount && cat token && echo . && cat ca.crt namespace && stat -L -c .%a token"
	c.pod("node1", "early", "busybox", command("sleep", "1000"), withToken)
	c.eventually("the certificate is missed", func() error {
		return c.hasEvent("FailedMount", `configmap "kube-root-ca.crt" not found`)
	})
	c.pod("node1", "web", "nginx", withToken)
	c.ready("web") // it doesn't read the certificate, and so doesn't miss it
	if p, err := c.get("early"); err != nil || len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil {
		t.Errorf("runs without its volume: %v %v", p, err)
	}
	before := c.issued.Load()
	if out, err := c.execIn("node1", "web", "true"); err == nil || !strings.Contains(err.Error(), `configmap "kube-root-ca.crt" not found`) {
		t.Errorf("into a container that cannot be mounted: %s %v", out, err)
	}
	c.configMap("kube-root-ca.crt", map[string]string{"ca.crt": "a certificate "})
	c.ready("early")
	if got, want := c.mustExec("node1", "early", "sh", "-c", read), "1 for Pod early of till.\na certificate default.644\n"; got != want {
		t.Errorf("a program reads %q, want %q", got, want)
	}
	c.pod("node1", "other", "nginx", withToken)
	c.ready("other")
	if n := c.issued.Load() - before; n > 1 {
		t.Errorf("%d tokens for programs that don't read them", n)
	}
	for range 2 {
		got := c.mustExec("node1", "other", "sh", "-c", read)
		if want := "for Pod other of till.\na certificate default.644\n"; !strings.HasSuffix(got, want) {
			t.Errorf("in a built-in program's container: %q, want %q", got, want)
		}
	}
	if n := c.issued.Load() - before; n > 2 {
		t.Errorf("%d tokens, one for each that was looked into would do", n)
	}
	c.configMap("kube-root-ca.crt", map[string]string{"ca.crt": "another "})
	c.eventually("both follow", func() error {
		for _, pod := range []string{"early", "other"} {
			if got := c.mustExec("node1", pod, "cat", "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"); got != "another " {
				return fmt.Errorf("%s has %q", pod, got)
			}
		}
		return nil
	})
	for _, pod := range []string{"early", "web", "other"} {
		c.delete(pod, 0)
		c.awaitGone(pod)
	}
	objects := c.nodes["node1"].agent.objects
	objects.mu.Lock()
	defer objects.mu.Unlock()
	if len(objects.watches) > 0 {
		t.Errorf("still watched: %v", objects.watches)
	}
}
