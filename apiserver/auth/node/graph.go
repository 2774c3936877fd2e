package node

import (
	"sync"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/api"
)

// Graph knows which nodes reach an object by way of their Pods. It is a store.Observer of
// Pods.
//
// Kubernetes: a graph of vertices and edges that is searched. Here all ways have one
// Pod in the middle, so an object's nodes are counted where it is looked up.
type Graph struct {
	mu    sync.RWMutex
	nodes map[vertex]map[string]int // by how many of each node's Pods the object is reached
}

// vertex is an object that a Pod needs, or the Pod.
type vertex struct {
	kind            kind
	namespace, name string
}

type kind byte

const (
	unknown kind = iota // there are none of these
	pods
	secrets
	configMaps
	accounts
	claims
	resourceClaims
)

func (g *Graph) reaches(v vertex, node string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.nodes[v][node] > 0
}

// Replace implements store.Observer.
func (g *Graph) Replace(objects []api.Object) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nodes = map[vertex]map[string]int{}
	for _, o := range objects {
		g.add(o.(*corev1.Pod), 1)
	}
}

// Change implements store.Observer.
func (g *Graph) Change(previous, next api.Object) {
	was, _ := previous.(*corev1.Pod)
	is, _ := next.(*corev1.Pod)
	if was != nil && is != nil && sameNeeds(was, is) {
		return // most changes are of the status
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if was != nil {
		g.add(was, -1)
	}
	if is != nil {
		g.add(is, 1)
	}
}

// sameNeeds: a Pod keeps what it names for life, but for containers that are added to it.
func sameNeeds(a, b *corev1.Pod) bool {
	return a.UID == b.UID && a.Spec.NodeName == b.Spec.NodeName &&
		len(a.Spec.EphemeralContainers) == len(b.Spec.EphemeralContainers) &&
		len(a.Status.ResourceClaimStatuses) == len(b.Status.ResourceClaimStatuses)
}

// add counts what the Pod's node reaches through it.
func (g *Graph) add(pod *corev1.Pod, n int) {
	node := pod.Spec.NodeName
	if node == "" {
		return
	}
	needs(pod, func(k kind, name string) {
		if name == "" {
			return
		}
		v := vertex{k, pod.Namespace, name}
		if g.nodes[v] == nil {
			g.nodes[v] = map[string]int{}
		}
		if g.nodes[v][node] += n; g.nodes[v][node] == 0 {
			delete(g.nodes[v], node)
		}
		if len(g.nodes[v]) == 0 {
			delete(g.nodes, v)
		}
	})
}

// needs visits the Pod and the names of all that its agent must read to run it.
func needs(pod *corev1.Pod, visit func(kind, string)) {
	visit(pods, pod.Name)
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return // the node made it: it must not grant itself anything by that
	}
	references(pod, visit)
}

// Reference is the first sort of object that the Pod names and a mirror Pod may not, in
// upstream's words and order; "" if there is none.
func Reference(pod *corev1.Pod) string {
	named := map[kind]bool{}
	references(pod, func(k kind, name string) { named[k] = named[k] || name != "" })
	for _, sort := range []struct {
		kind
		name string
	}{{accounts, "serviceaccounts"}, {secrets, "secrets"}, {configMaps, "configmaps"}, {resourceClaims, "resourceclaims"}} {
		if named[sort.kind] {
			return sort.name
		}
	}
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.CSI != nil:
			return "csidrivers (via CSI volumes)"
		case v.Glusterfs != nil:
			return "endpoints (via glusterFS volumes)"
		case v.PersistentVolumeClaim != nil:
			return "persistentvolumeclaims"
		case v.Ephemeral != nil:
			return "persistentvolumeclaims (via ephemeral volumes)"
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				switch {
				case s.ServiceAccountToken != nil:
					return "serviceaccounts (via projected volumes)"
				case s.ClusterTrustBundle != nil:
					return "clustertrustbundles"
				case s.PodCertificate != nil:
					return "podcertificates"
				}
			}
		}
	}
	return ""
}

// references visits the names of what the Pod's specification names.
func references(pod *corev1.Pod, visit func(kind, string)) {
	visit(accounts, pod.Spec.ServiceAccountName)
	for _, s := range pod.Spec.ImagePullSecrets {
		visit(secrets, s.Name)
	}
	for i := range pod.Spec.InitContainers {
		environmentNeeds(pod.Spec.InitContainers[i].Env, pod.Spec.InitContainers[i].EnvFrom, visit)
	}
	for i := range pod.Spec.Containers {
		environmentNeeds(pod.Spec.Containers[i].Env, pod.Spec.Containers[i].EnvFrom, visit)
	}
	for i := range pod.Spec.EphemeralContainers {
		environmentNeeds(pod.Spec.EphemeralContainers[i].Env, pod.Spec.EphemeralContainers[i].EnvFrom, visit)
	}
	for i := range pod.Spec.Volumes {
		volumeNeeds(pod, &pod.Spec.Volumes[i], visit)
	}
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			visit(resourceClaims, *c.ResourceClaimName)
		}
	}
	for _, c := range pod.Status.ResourceClaimStatuses {
		if c.ResourceClaimName != nil {
			visit(resourceClaims, *c.ResourceClaimName)
		}
	}
}

func environmentNeeds(env []corev1.EnvVar, from []corev1.EnvFromSource, visit func(kind, string)) {
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			visit(secrets, r.Name)
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			visit(configMaps, r.Name)
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			visit(secrets, f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			visit(configMaps, f.ConfigMapRef.Name)
		}
	}
}

func volumeNeeds(pod *corev1.Pod, v *corev1.Volume, visit func(kind, string)) {
	switch s := v.VolumeSource; {
	case s.Secret != nil:
		visit(secrets, s.Secret.SecretName)
	case s.ConfigMap != nil:
		visit(configMaps, s.ConfigMap.Name)
	case s.Projected != nil:
		for _, p := range s.Projected.Sources {
			if p.Secret != nil {
				visit(secrets, p.Secret.Name)
			}
			if p.ConfigMap != nil {
				visit(configMaps, p.ConfigMap.Name)
			}
		}
	case s.PersistentVolumeClaim != nil:
		visit(claims, s.PersistentVolumeClaim.ClaimName)
	case s.Ephemeral != nil:
		visit(claims, pod.Name+"-"+v.Name)
	case s.AzureFile != nil:
		visit(secrets, s.AzureFile.SecretName)
	default:
		for _, ref := range storageSecrets(&s) {
			if ref != nil {
				visit(secrets, ref.Name)
			}
		}
	}
}

// storageSecrets are the logins to storage.
func storageSecrets(s *corev1.VolumeSource) []*corev1.LocalObjectReference {
	switch {
	case s.CephFS != nil:
		return []*corev1.LocalObjectReference{s.CephFS.SecretRef}
	case s.Cinder != nil:
		return []*corev1.LocalObjectReference{s.Cinder.SecretRef}
	case s.FlexVolume != nil:
		return []*corev1.LocalObjectReference{s.FlexVolume.SecretRef}
	case s.RBD != nil:
		return []*corev1.LocalObjectReference{s.RBD.SecretRef}
	case s.ScaleIO != nil:
		return []*corev1.LocalObjectReference{s.ScaleIO.SecretRef}
	case s.ISCSI != nil:
		return []*corev1.LocalObjectReference{s.ISCSI.SecretRef}
	case s.StorageOS != nil:
		return []*corev1.LocalObjectReference{s.StorageOS.SecretRef}
	case s.CSI != nil:
		return []*corev1.LocalObjectReference{s.CSI.NodePublishSecretRef}
	}
	return nil
}
