package node

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// environment is what a container's programs find in their environment: a few
// variables that images set, then the container's own.
func environment(from source, spec *corev1.Container, hostname string) ([]string, error) {
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
		value, err := envValue(from, v, values)
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

func envValue(from source, v corev1.EnvVar, known map[string]string) (string, error) {
	if v.ValueFrom == nil {
		return expand(v.Value, known), nil
	}
	if v.ValueFrom.FieldRef == nil {
		return "", fmt.Errorf("variable %s: this node knows values from fieldRef only", v.Name)
	}
	return from.Field(v.ValueFrom.FieldRef.FieldPath)
}

// valuesOf is an environment by name.
func valuesOf(env []string) map[string]string {
	values := make(map[string]string, len(env))
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	return values
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
