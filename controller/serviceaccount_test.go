package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/controller"
)

// TestEveryNamespaceIsFurnished looks for the default ServiceAccount and the CA's
// certificate, and takes them away.
func TestEveryNamespaceIsFurnished(t *testing.T) {
	c := start(t, func(cfg *controller.Config) { cfg.RootCA = []byte("certificate") })
	_, err := c.CoreV1().Namespaces().Create(c.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "lesson"}}, metav1.CreateOptions{})
	must(t, err)
	furnished := func() error {
		for _, ns := range []string{"lesson", "default", "kube-system"} {
			if _, err := c.CoreV1().ServiceAccounts(ns).Get(c.ctx, "default", metav1.GetOptions{}); err != nil {
				return err
			}
			ca, err := c.CoreV1().ConfigMaps(ns).Get(c.ctx, "kube-root-ca.crt", metav1.GetOptions{})
			if err != nil || len(ca.Data) != 1 || ca.Data["ca.crt"] != "certificate" {
				return fmt.Errorf("in namespace %s: %v, %v", ns, ca.Data, err)
			}
		}
		return nil
	}
	eventually(t, "every namespace has both", furnished)

	must(t, c.CoreV1().ServiceAccounts("lesson").Delete(c.ctx, "default", metav1.DeleteOptions{}))
	must(t, c.CoreV1().ConfigMaps("lesson").Delete(c.ctx, "kube-root-ca.crt", metav1.DeleteOptions{}))
	eventually(t, "both are made again", furnished)

	ca, err := c.CoreV1().ConfigMaps("lesson").Get(c.ctx, "kube-root-ca.crt", metav1.GetOptions{})
	must(t, err)
	ca.Data = map[string]string{"ca.crt": "forged", "other": "x"}
	_, err = c.CoreV1().ConfigMaps("lesson").Update(c.ctx, ca, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, "the certificate is mended", furnished)
}
