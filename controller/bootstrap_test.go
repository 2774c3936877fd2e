package controller_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/controller"
)

// TestClusterInfoIsSigned follows a token from its creation to its end.
func TestClusterInfoIsSigned(t *testing.T) {
	c := start(t, func(*controller.Config) {})
	signatures := func(want ...string) func() error {
		return func() error {
			info, err := c.CoreV1().ConfigMaps("kube-public").Get(c.ctx, "cluster-info", metav1.GetOptions{})
			if err != nil {
				return err
			}
			var have []string
			for key := range info.Data {
				if id, ok := strings.CutPrefix(key, "jws-kubeconfig-"); ok {
					have = append(have, id)
				}
			}
			slices.Sort(have)
			if !slices.Equal(have, want) {
				return fmt.Errorf("signed by %v, not by %v", have, want)
			}
			return nil
		}
	}
	token := func(id string, expiration time.Time) {
		_, err := c.CoreV1().Secrets("kube-system").Create(c.ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
			StringData: map[string]string{"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", "expiration": expiration.Format(time.RFC3339)},
		}, metav1.CreateOptions{})
		must(t, err)
	}
	token("aaaaaa", time.Now().Add(time.Hour))
	token("bbbbbb", time.Now().Add(2*time.Second))
	eventually(t, "the token that stays has signed", func() error {
		if err := signatures("aaaaaa", "bbbbbb")(); err == nil {
			return nil
		}
		return signatures("aaaaaa")() // a slow machine may not see the other
	})
	eventually(t, "the expired token is gone", func() error {
		list, err := c.CoreV1().Secrets("kube-system").List(c.ctx, metav1.ListOptions{FieldSelector: "type=bootstrap.kubernetes.io/token"})
		if err == nil && len(list.Items) != 1 {
			err = fmt.Errorf("%d tokens", len(list.Items))
		}
		return err
	})
	eventually(t, "and with it its signature", signatures("aaaaaa"))

	info, err := c.CoreV1().ConfigMaps("kube-public").Get(c.ctx, "cluster-info", metav1.GetOptions{})
	must(t, err)
	before := info.Data["jws-kubeconfig-aaaaaa"]
	info.Data["kubeconfig"] += "# changed\n"
	_, err = c.CoreV1().ConfigMaps("kube-public").Update(c.ctx, info, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, "what changed is signed anew", func() error {
		info, err := c.CoreV1().ConfigMaps("kube-public").Get(c.ctx, "cluster-info", metav1.GetOptions{})
		if err == nil && info.Data["jws-kubeconfig-aaaaaa"] == before {
			err = fmt.Errorf("the signature is the old one")
		}
		return err
	})
	must(t, c.CoreV1().Secrets("kube-system").Delete(c.ctx, "bootstrap-token-aaaaaa", metav1.DeleteOptions{}))
	eventually(t, "no token, no signature", signatures())
}
