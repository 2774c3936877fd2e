package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMirroring: Endpoints written by hand become a slice, as long as the Service has no
// selector and nobody asks to be skipped.
func TestMirroring(t *testing.T) {
	c := start(t)
	services, endpoints := c.CoreV1().Services("default"), c.CoreV1().Endpoints("default")
	svc, err := services.Create(c.ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Port: 5432}}}}, metav1.CreateOptions{})
	must(t, err)
	e, err := endpoints.Create(c.ctx, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "172.30.0.9"}}, Ports: []corev1.EndpointPort{{Port: 5432}}}}}, metav1.CreateOptions{})
	must(t, err)
	slices := func(want ...string) func() error {
		return func() error {
			list, err := c.DiscoveryV1().EndpointSlices("default").List(c.ctx, metav1.ListOptions{
				LabelSelector: discoveryv1.LabelServiceName + "=db," + discoveryv1.LabelManagedBy + "=endpointslicemirroring-controller.k8s.io"})
			if err != nil {
				return err
			}
			var got []string
			for _, s := range list.Items {
				for _, e := range s.Endpoints {
					got = append(got, e.Addresses...)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("mirrored %v, want %v", got, want)
			}
			return nil
		}
	}
	eventually(t, "the mirror", slices("172.30.0.9"))
	e.Subsets[0].Addresses[0].IP = "172.30.0.10"
	e, err = endpoints.Update(c.ctx, e, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, "another address", slices("172.30.0.10"))
	e.Labels = map[string]string{discoveryv1.LabelSkipMirror: "true"}
	e, err = endpoints.Update(c.ctx, e, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, "skipped", slices())
	e.Labels = nil
	_, err = endpoints.Update(c.ctx, e, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, "mirrored again", slices("172.30.0.10"))
	svc.Spec.Selector = map[string]string{"app": "db"}
	_, err = services.Update(c.ctx, svc, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, "a selector", slices())
}
