package apiserver

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth/policy"
	"orrery.example.org/apiserver/store"
	"orrery.example.org/pki"
)

// own is an object that the server itself keeps: it is made if it is missing, and
// repair mends what the server answers for (nil: nothing).
type own struct {
	resource schema.GroupVersionResource
	object   api.Object
	repair   func(have, want api.Object) // want's essential parts into have
}

// bootstrap makes what must exist in every cluster: four namespaces, two priority
// classes, the CA for whoever serves the cluster's clients as well, what a machine needs
// to know that is to join, and the Service "kubernetes" through which Pods find this server.
//
// Upstream counterpart: pkg/controlplane/controller/{systemnamespaces,kubernetesservice,
// clusterauthenticationtrust} and pkg/registry/scheduling/rest.
// Kubernetes: makes the priority classes when it starts, and not again if they are deleted;
// cluster-info is kubeadm's to make.
func (h *handlers) bootstrap(ctx context.Context, advertise netip.AddrPort) error {
	objects := append(systemNamespaces(), systemPriorities()...)
	objects = append(objects, clientAuthority(h.clientCA))
	info, err := clusterInfo(h.endpoint, h.clientCA)
	if err != nil {
		return err
	}
	objects = append(objects, info)
	objects = append(objects, kubernetesService(h.alloc.First(), advertise.Port()))
	endpoints, err := h.endpoints(ctx, advertise)
	if err != nil {
		return err
	}
	objects = append(objects, endpoints...)
	g, ctx := errgroup.WithContext(ctx) // at once: etcd writes them to disk together
	for _, o := range objects {
		g.Go(func() error {
			if err := h.keep(ctx, o); err != nil {
				return fmt.Errorf("make %s %s: %w", o.resource.Resource, o.object.GetName(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		if err := h.keepServiceCIDR(ctx); err != nil {
			return fmt.Errorf("make the default ServiceCIDR: %w", err)
		}
		return nil
	})
	return g.Wait()
}

// establish writes the roles and bindings that every cluster starts with, and mends those
// that are there. They count before they are written; from here on only what is stored does.
//
// Upstream counterpart: the hook rbac/bootstrap-roles of pkg/registry/rbac/rest.
func (h *handlers) establish(ctx context.Context) error {
	g, groupCtx := errgroup.WithContext(ctx)
	for _, o := range policy.Objects() {
		g.Go(func() error {
			if err := h.keepPolicy(groupCtx, o); err != nil {
				return fmt.Errorf("make %T %s: %w", o, o.GetName(), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	h.rules.Settle()
	return nil
}

// keepPolicy is keep for a role or binding. A binding to another role is made anew.
func (h *handlers) keepPolicy(ctx context.Context, o api.Object) error {
	res := h.resources[policy.Resource(o)]
	have, err := res.objects.Get(ctx, o.GetNamespace(), o.GetName(), false)
	if err == nil && policy.Rebound(have.Object, o) {
		_, err = res.objects.Write(ctx, o.GetNamespace(), o.GetName(), func(*store.Version) (store.Write, error) { return store.Write{}, nil })
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return h.keep(ctx, own{resource: policy.Resource(o), object: o, repair: policy.Repair})
}

// keepKubernetes makes the objects anew that somebody has deleted or changed.
func (h *handlers) keepKubernetes(ctx context.Context, advertise netip.AddrPort, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := h.bootstrap(ctx, advertise); err != nil && ctx.Err() == nil {
				h.log.Warn("cannot keep the system's own objects", "err", err)
			}
		}
	}
}

// keep makes the object, or repairs the one that is there.
func (h *handlers) keep(ctx context.Context, o own) error {
	res := h.resources[o.resource]
	if res == nil {
		return fmt.Errorf("no such resource: %s", o.resource)
	}
	namespace, name := o.object.GetNamespace(), o.object.GetName()
	have, err := res.objects.Get(ctx, namespace, name, false)
	if apierrors.IsNotFound(err) {
		_, err = h.add(ctx, res, o.object.DeepCopyObject().(api.Object), false, func(api.Object) error { return nil })
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	if err != nil || o.repair == nil {
		return err
	}
	mended := have.Object.DeepCopyObject().(api.Object)
	o.repair(mended, o.object)
	if equality.Semantic.DeepEqual(mended, have.Object) {
		return nil
	}
	_, err = h.succeed(ctx, res, h.objectView(res), namespace, name, false, func(old api.Object) (api.Object, error) {
		next := old.DeepCopyObject().(api.Object)
		o.repair(next, o.object)
		return next, nil
	})
	return err
}

func systemNamespaces() []own {
	var objects []own
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		objects = append(objects, own{
			resource: corev1.SchemeGroupVersion.WithResource("namespaces"),
			object:   &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		})
	}
	return objects
}

func systemPriorities() []own {
	var objects []own
	for _, class := range api.SystemPriorityClasses() {
		objects = append(objects, own{resource: schedulingv1.SchemeGroupVersion.WithResource("priorityclasses"), object: class})
	}
	return objects
}

// clientAuthority tells other servers, like a scheduler's port for metrics, by which CA
// this one knows its clients.
func clientAuthority(pem []byte) own {
	return published(metav1.NamespaceSystem, "extension-apiserver-authentication", "client-ca-file", string(pem))
}

// clusterInfo tells anybody where the cluster is and which CA it has. What makes it
// credible is the signatures that a controller adds (controller/bootstrapsigner).
func clusterInfo(endpoint string, ca []byte) (own, error) {
	kubeconfig, err := pki.ClusterInfo("https://"+endpoint, ca)
	return published(metav1.NamespacePublic, "cluster-info", "kubeconfig", string(kubeconfig)), err
}

// published is a ConfigMap one of whose keys is the server's.
func published(namespace, name, key, value string) own {
	return own{
		resource: corev1.SchemeGroupVersion.WithResource("configmaps"),
		object: &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Data:       map[string]string{key: value},
		},
		repair: func(have, _ api.Object) {
			c := have.(*corev1.ConfigMap)
			if c.Data == nil {
				c.Data = map[string]string{}
			}
			c.Data[key] = value
		},
	}
}

// The Service and its endpoints are called the same, and so is their only port.
const (
	kubernetesName = "kubernetes"
	kubernetesPort = "https"
)

func kubernetesMeta(labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: kubernetesName, Labels: labels}
}

// kubernetesService has no selector: its endpoints are written below.
func kubernetesService(clusterIP netip.Addr, targetPort uint16) own {
	return own{
		resource: corev1.SchemeGroupVersion.WithResource("services"),
		object: &corev1.Service{
			ObjectMeta: kubernetesMeta(map[string]string{"component": "apiserver", "provider": "kubernetes"}),
			Spec: corev1.ServiceSpec{
				Type:            corev1.ServiceTypeClusterIP,
				ClusterIP:       clusterIP.String(),
				ClusterIPs:      []string{clusterIP.String()},
				IPFamilyPolicy:  new(corev1.IPFamilyPolicySingleStack),
				SessionAffinity: corev1.ServiceAffinityNone,
				Ports: []corev1.ServicePort{{
					Name: kubernetesPort, Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(int32(targetPort)),
				}},
			},
		},
		repair: func(have, want api.Object) {
			have.(*corev1.Service).Spec.Ports = want.(*corev1.Service).Spec.Ports
			have.(*corev1.Service).Spec.Type = corev1.ServiceTypeClusterIP
		},
	}
}
