package node

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/volume"
)

// source is what a Pod's volumes and variables are made of, as of one moment.
type source struct {
	pod      *corev1.Pod
	objects  map[reference]answer
	tokens   map[tokenKey]tokenAnswer // only those that the volumes at hand want
	podIPs   []string                 // none before there is a sandbox
	hostIPs  []string
	capacity corev1.ResourceList // of the node, which an absent limit stands for
}

var _ volume.Source = source{}

// source looks everything up that the Pod refers to.
func (p *pod) source(ctx context.Context) source {
	return source{
		pod: p.latest(), objects: p.node.objects.look(ctx, p.followed()),
		podIPs: texts(p.addresses()), hostIPs: p.node.cfg.NodeIP, capacity: p.node.facts.resources,
	}
}

// primary is the address that counts where only one can be told, "" if there is none.
func primary(all []string) string { return strings.Join(all[:min(1, len(all))], "") }

// texts writes addresses down.
func texts(addrs []netip.Addr) (all []string) {
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

// environment is what programs of a container find in their environment. image is what
// its image sets.
func (p *pod) environment(ctx context.Context, spec *corev1.Container, image []string) ([]string, error) {
	from := p.source(ctx)
	services, err := p.node.servicesFor(ctx, from.pod)
	if err != nil {
		return nil, err
	}
	hostname, _ := sandbox.Hostname(from.pod, p.node.cfg.ClusterDomain)
	return environment(from, spec, image, hostname, services)
}

// ConfigMap implements volume.Source.
func (s source) ConfigMap(name string) (*corev1.ConfigMap, error) {
	a := s.objects[reference{configMapKind, s.pod.Namespace, name}]
	if a.err != nil {
		return nil, a.err
	}
	return a.object.(*corev1.ConfigMap), nil
}

// Secret implements volume.Source.
func (s source) Secret(name string) (*corev1.Secret, error) {
	a := s.objects[reference{secretKind, s.pod.Namespace, name}]
	if a.err != nil {
		return nil, a.err
	}
	return a.object.(*corev1.Secret), nil
}

// Token implements volume.Source.
func (s source) Token(t *corev1.ServiceAccountTokenProjection) (string, error) {
	a := s.tokens[keyOf(t)]
	return a.text, a.err
}

// Field implements volume.Source: it is the downward API.
func (s source) Field(path string) (string, error) {
	if field, key, ok := strings.Cut(strings.TrimSuffix(path, "']"), "['"); ok {
		switch field {
		case "metadata.labels":
			return s.pod.Labels[key], nil
		case "metadata.annotations":
			return s.pod.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return s.pod.Name, nil
	case "metadata.namespace":
		return s.pod.Namespace, nil
	case "metadata.uid":
		return string(s.pod.UID), nil
	case "metadata.labels":
		return formatMap(s.pod.Labels), nil
	case "metadata.annotations":
		return formatMap(s.pod.Annotations), nil
	case "spec.nodeName":
		return s.pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return s.pod.Spec.ServiceAccountName, nil
	case "status.podIP":
		return primary(s.podIPs), nil
	case "status.podIPs":
		return strings.Join(s.podIPs, ","), nil
	case "status.hostIP":
		return primary(s.hostIPs), nil
	case "status.hostIPs":
		return strings.Join(s.hostIPs, ","), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %s", path)
}

// formatMap writes labels or annotations down, one a line.
func formatMap(m map[string]string) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", key, m[key]))
	}
	return strings.Join(lines, "\n")
}

// Resource implements volume.Source. An absent limit is what the node has.
func (s source) Resource(ref *corev1.ResourceFieldSelector) (string, error) {
	all := slices.Concat(s.pod.Spec.InitContainers, s.pod.Spec.Containers)
	i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == ref.ContainerName })
	if i < 0 {
		return "", fmt.Errorf("container %s not found", ref.ContainerName)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	amount := all[i].Resources.Requests[corev1.ResourceName(name)]
	if kind == "limits" {
		amount = all[i].Resources.Limits[corev1.ResourceName(name)]
		if amount.IsZero() {
			amount = s.capacity[corev1.ResourceName(name)]
		}
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor.Set(1)
	}
	if name == string(corev1.ResourceCPU) {
		return quotient(amount.MilliValue(), divisor.MilliValue()), nil
	}
	return quotient(amount.Value(), divisor.Value()), nil
}

// quotient is rounded up.
func quotient(amount, divisor int64) string {
	return strconv.FormatInt((amount+divisor-1)/divisor, 10)
}
