package node

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// environment is what a container's programs find in their environment: a few
// variables that images set, then the container's own.
func environment(pod *corev1.Pod, spec *corev1.Container, hostname, podIP, hostIP string) ([]string, error) {
	names := []string{"PATH", "HOSTNAME", "HOME"}
	values := map[string]string{
		"PATH":     "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOSTNAME": hostname,
		"HOME":     "/root",
	}
	if spec.TTY {
		names, values["TERM"] = append(names, "TERM"), "xterm"
	}
	if len(spec.EnvFrom) > 0 {
		return nil, fmt.Errorf("envFrom of container %s is not supported by this node", spec.Name)
	}
	for _, v := range spec.Env {
		value, err := envValue(pod, v, values, podIP, hostIP)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(names, v.Name) {
			names = append(names, v.Name)
		}
		values[v.Name] = value
	}
	env := make([]string, 0, len(names))
	for _, name := range names {
		env = append(env, name+"="+values[name])
	}
	return env, nil
}

func envValue(pod *corev1.Pod, v corev1.EnvVar, known map[string]string, podIP, hostIP string) (string, error) {
	if v.ValueFrom == nil {
		return expand(v.Value, known), nil
	}
	if v.ValueFrom.FieldRef == nil {
		return "", fmt.Errorf("variable %s: this node knows values from fieldRef only", v.Name)
	}
	return podField(pod, v.ValueFrom.FieldRef.FieldPath, podIP, hostIP)
}

// podField is the downward API.
func podField(pod *corev1.Pod, path, podIP, hostIP string) (string, error) {
	if field, key, ok := strings.Cut(strings.TrimSuffix(path, "']"), "['"); ok {
		switch field {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return podIP, nil
	case "status.hostIP", "status.hostIPs":
		return hostIP, nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %s", path)
}

// expand replaces $(NAME) by the value of an earlier variable. An unknown name stays
// as it is, and $$ is a dollar sign.
func expand(text string, known map[string]string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		value, ok := known[name]
		switch {
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "(") && closed && ok:
			out.WriteString(value)
			text = rest
		default:
			out.WriteByte('$')
			text = after
		}
	}
}
