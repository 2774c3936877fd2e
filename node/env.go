package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

// environment is what a container's programs find in their environment: what images
// set, the container's envFrom and env, and the Services. Its own variables may refer
// to earlier ones and to those of Services; these come last and replace nothing. set is
// what this image sets.
func environment(from source, spec *corev1.Container, set []string, hostname string, services []*corev1.Service) ([]string, error) {
	image := map[string]string{
		"PATH":     "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOSTNAME": hostname,
		"HOME":     "/root",
	}
	if spec.TTY {
		image["TERM"] = "xterm"
	}
	maps.Copy(image, valuesOf(set))
	own := map[string]string{}
	for _, e := range spec.EnvFrom {
		if err := addAll(own, e, from); err != nil {
			return nil, err
		}
	}
	known := serviceVariables(services)
	maps.Copy(known, own)
	for _, v := range spec.Env {
		value, found, err := envValue(from, spec, v, known)
		if err != nil {
			return nil, err
		}
		if found {
			known[v.Name] = value
		}
	}
	maps.Copy(image, known)
	env := make([]string, 0, len(image))
	for _, name := range slices.Sorted(maps.Keys(image)) {
		env = append(env, name+"="+image[name])
	}
	return env, nil
}

// addAll adds every key of a ConfigMap or Secret.
func addAll(values map[string]string, e corev1.EnvFromSource, from source) error {
	switch {
	case e.ConfigMapRef != nil:
		object, err := from.ConfigMap(e.ConfigMapRef.Name)
		if err != nil {
			return unlessOptional(err, e.ConfigMapRef.Optional)
		}
		for key, value := range object.Data {
			values[e.Prefix+key] = value
		}
	case e.SecretRef != nil:
		object, err := from.Secret(e.SecretRef.Name)
		if err != nil {
			return unlessOptional(err, e.SecretRef.Optional)
		}
		for key, value := range object.Data {
			values[e.Prefix+key] = string(value)
		}
	}
	return nil
}

// unlessOptional forgives that an object is missing, if it may be.
func unlessOptional(err error, optional *bool) error {
	if ptr.Deref(optional, false) && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// envValue is the value of one variable; it may be optional and have none.
func envValue(from source, spec *corev1.Container, v corev1.EnvVar, known map[string]string) (value string, found bool, err error) {
	switch s := v.ValueFrom; {
	case s == nil:
		return expand(v.Value, known), true, nil
	case s.FieldRef != nil:
		value, err = from.Field(s.FieldRef.FieldPath)
		return value, true, err
	case s.ResourceFieldRef != nil:
		ref := *s.ResourceFieldRef
		if ref.ContainerName == "" {
			ref.ContainerName = spec.Name
		}
		value, err = from.Resource(&ref)
		return value, true, err
	case s.ConfigMapKeyRef != nil:
		return configMapValue(from, s.ConfigMapKeyRef)
	case s.SecretKeyRef != nil:
		return secretValue(from, s.SecretKeyRef)
	}
	return "", false, fmt.Errorf("variable %s: this node knows values from fields, resources, ConfigMaps and Secrets only", v.Name)
}

func configMapValue(from source, ref *corev1.ConfigMapKeySelector) (string, bool, error) {
	object, err := from.ConfigMap(ref.Name)
	if err != nil {
		return "", false, unlessOptional(err, ref.Optional)
	}
	value, found := object.Data[ref.Key]
	if !found && !ptr.Deref(ref.Optional, false) {
		err = fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, object.Namespace, ref.Name)
	}
	return value, found, err
}

func secretValue(from source, ref *corev1.SecretKeySelector) (string, bool, error) {
	object, err := from.Secret(ref.Name)
	if err != nil {
		return "", false, unlessOptional(err, ref.Optional)
	}
	value, found := object.Data[ref.Key]
	if !found && !ptr.Deref(ref.Optional, false) {
		err = fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, object.Namespace, ref.Name)
	}
	return string(value), found, err
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
