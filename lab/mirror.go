package lab

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/apiserver"
)

// The parts of the control plane run outside of the cluster's reach, as static Pods
// do: nothing schedules them. A mirror Pod is their picture in the API.
//
// Kubernetes: the kubelet makes mirror Pods of the manifests in its directory. Our
// control-plane host has no agent, and the components are goroutines of the lab, so
// the lab paints them itself, those of the service proxies included (a DaemonSet
// upstream).

const mirrorAnnotation = "kubernetes.io/config.mirror"

// mirrorPods lists the pictures.
func (c *cluster) mirrorPods() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, component := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		pods = append(pods, mirrorPod(component, controlPlane, c.config.addresses(controlPlaneAddress), "control-plane"))
	}
	for i := range c.config.Nodes {
		pods = append(pods, mirrorPod("kube-proxy", nodeName(i+1), c.config.addresses(nodeAddress(i+1)), "node"))
	}
	return pods
}

func mirrorPod(component, machine string, addresses []netip.Addr, tier string) *corev1.Pod {
	now, started := metav1.Now(), true
	condition := func(t corev1.PodConditionType) corev1.PodCondition {
		return corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now}
	}
	image := "orrery/" + component + ":" + apiserver.Version
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   metav1.NamespaceSystem,
			Name:        component + "-" + machine,
			Labels:      map[string]string{"component": component, "tier": tier},
			Annotations: map[string]string{mirrorAnnotation: component, "kubernetes.io/config.source": "orrery"},
		},
		Spec: corev1.PodSpec{
			NodeName:          machine,
			HostNetwork:       true,
			PriorityClassName: "system-node-critical",
			Tolerations:       []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers:        []corev1.Container{{Name: component, Image: image}},
		},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{condition(corev1.PodReadyToStartContainers), condition(corev1.PodInitialized), condition(corev1.PodReady), condition(corev1.ContainersReady), condition(corev1.PodScheduled)},
			HostIP:     addresses[0].String(), PodIP: addresses[0].String(),
			StartTime: &now,
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: component, Image: image, ImageID: "builtin:" + component, Ready: true, Started: &started,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
			}},
		},
	}
	for _, a := range addresses {
		pod.Status.HostIPs = append(pod.Status.HostIPs, corev1.HostIP{IP: a.String()})
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	return pod
}

// keepMirrorPods makes the pictures, and makes one again that somebody deleted.
func (c *cluster) keepMirrorPods(ctx context.Context) error {
	wanted := map[string]*corev1.Pod{}
	for _, pod := range c.mirrorPods() {
		wanted[pod.Name] = pod
	}
	factory := informers.NewSharedInformerFactoryWithOptions(c.admin, 0, informers.WithNamespace(metav1.NamespaceSystem),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "component,tier" }))
	pods := factory.Core().V1().Pods()
	changed, handler, err := changes(pods.Informer())
	if err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		return nil
	}
	for {
		if err := c.syncMirrorPods(ctx, pods.Lister().Pods(metav1.NamespaceSystem), wanted); err != nil && ctx.Err() == nil {
			c.logger("mirror").Warn("keep mirror Pods", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (c *cluster) syncMirrorPods(ctx context.Context, seen corelisters.PodNamespaceLister, wanted map[string]*corev1.Pod) error {
	client := c.admin.CoreV1().Pods(metav1.NamespaceSystem)
	existing, err := seen.List(labels.Everything())
	if err != nil {
		return err
	}
	present := map[string]bool{}
	for _, pod := range existing {
		present[pod.Name] = true
		stale := wanted[pod.Name] == nil && pod.Annotations[mirrorAnnotation] != "" // of an earlier run with more nodes
		if pod.DeletionTimestamp != nil && wanted[pod.Name] != nil || stale {
			if err := client.Delete(ctx, pod.Name, *metav1.NewDeleteOptions(0)); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("delete mirror Pod %s: %w", pod.Name, err)
			}
		}
	}
	for name, pod := range wanted {
		if present[name] {
			continue
		}
		created, err := client.Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("create mirror Pod %s: %w", name, err)
		}
		created.Status = pod.Status
		created.Status.QOSClass = corev1.PodQOSBestEffort
		if _, err := client.UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("write the status of mirror Pod %s: %w", name, err)
		}
	}
	return nil
}
