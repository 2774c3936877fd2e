package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
)

const (
	defaultAccount = "default"
	accessVolume   = "kube-api-access-" // and five letters
	accessPath     = "/var/run/secrets/kubernetes.io/serviceaccount"
	accessSeconds  = 3607 // not a round number: the API server knows by it tokens of Pods (apiserver/token.go)
)

// serviceAccount gives a Pod the account that it runs as, and every container the files
// that client-go's InClusterConfig looks for: a token, the CA's certificate and the
// namespace.
//
// Kubernetes: the annotation kubernetes.io/enforce-mountable-secrets, which is
// deprecated, limits the Secrets of Pods besides.
func serviceAccount(ctx context.Context, a *Attributes) error {
	pod := newPod(a)
	if pod == nil {
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		// The Pod runs already, on a node that got it from a file.
		if err := mirrored(&pod.Spec); err != nil {
			return forbidden(a, err)
		}
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	account, err := findAccount(ctx, a.Cluster, a.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return forbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.Namespace, pod.Spec.ServiceAccountName, err))
	}
	if automounts(account, pod) {
		mountAccess(&pod.Spec)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

// mirrored says what the mirror of a Pod that no API server admitted may not have.
func mirrored(spec *corev1.PodSpec) error {
	if spec.ServiceAccountName != "" {
		return errors.New("a mirror pod may not reference service accounts")
	}
	if referencesSecrets(spec) {
		return errors.New("a mirror pod may not reference secrets")
	}
	for _, v := range spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return errors.New("a mirror pod may not use ServiceAccountToken volume projections")
			}
		}
	}
	return nil
}

func referencesSecrets(spec *corev1.PodSpec) bool {
	if len(spec.ImagePullSecrets) > 0 {
		return true
	}
	for _, v := range spec.Volumes {
		if v.Secret != nil || v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.Secret != nil }) {
			return true
		}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if slices.ContainsFunc(c.EnvFrom, func(e corev1.EnvFromSource) bool { return e.SecretRef != nil }) ||
			slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil }) {
			return true
		}
	}
	return false
}

// lookups is how often the account "default" is looked for: a controller makes it, soon
// after the namespace.
const lookups = 10

// findAccount finds the ServiceAccount, or waits for the default one.
//
// Kubernetes: waits 100 to 200 ms each time; here it begins with 4 and ends with 250.
func findAccount(ctx context.Context, cluster Cluster, namespace, name string) (*corev1.ServiceAccount, error) {
	for try, pause := 1, 4*time.Millisecond; ; try, pause = try+1, min(2*pause, 250*time.Millisecond) {
		o, err := cluster.Get(ctx, schema.GroupResource{Resource: "serviceaccounts"}, namespace, name)
		switch {
		case err == nil:
			return o.(*corev1.ServiceAccount), nil
		case !apierrors.IsNotFound(err):
			return nil, err
		case name != defaultAccount || try == lookups:
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccount"}, name) // sic
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// automounts says whether the token is to be mounted: the Pod's word counts first, then
// the account's.
func automounts(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	for _, wish := range []*bool{pod.Spec.AutomountServiceAccountToken, account.AutomountServiceAccountToken} {
		if wish != nil {
			return *wish
		}
	}
	return true
}

// mountAccess mounts the volume into every container that has nothing else in its place,
// and adds it to the Pod unless it brought one.
func mountAccess(spec *corev1.PodSpec) {
	own := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, accessVolume) })
	name := accessVolume + rand.String(5)
	if own >= 0 {
		name = spec.Volumes[own].Name
	}
	mounted := false
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == accessPath }) {
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: accessPath})
				mounted = true
			}
		}
	}
	if own < 0 && mounted {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: access()}})
	}
}

// access is what a Pod needs to talk to the API server.
func access() *corev1.ProjectedVolumeSource {
	return &corev1.ProjectedVolumeSource{
		DefaultMode: new(corev1.ProjectedVolumeSourceDefaultMode),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: corev1.ServiceAccountTokenKey, ExpirationSeconds: new(int64(accessSeconds))}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: corev1.ServiceAccountRootCAKey, Path: corev1.ServiceAccountRootCAKey}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: corev1.ServiceAccountNamespaceKey, FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}
}
