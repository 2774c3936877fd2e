package api

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podFieldPaths may be read into an environment variable, beside single labels and
// annotations.
var podFieldPaths = []string{
	"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
	"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
}

// convertiblePaths are fields that there are, but not for the environment.
var convertiblePaths = []string{
	"metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "spec.hostNetwork", "status.phase",
	"status.nominatedNodeName",
}

func validateEnv(c *corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range c.Env {
		e, at := &c.Env[i], at.Child("env").Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, invalid(at.Child("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, validateEnvSource(e, at.Child("valueFrom"))...)
		}
	}
	for i := range c.EnvFrom {
		errs = append(errs, validateEnvFrom(&c.EnvFrom[i], at.Child("envFrom"), at.Child("envFrom").Index(i))...)
	}
	return errs
}

func validateEnvSource(e *corev1.EnvVar, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	from, sources := e.ValueFrom, 0
	if r := from.FieldRef; r != nil {
		sources++
		errs = append(errs, validateFieldRef(r, podFieldPaths, at.Child("fieldRef"))...)
	}
	if r := from.ResourceFieldRef; r != nil {
		sources++
		errs = append(errs, validateResourceRef(r, at.Child("resourceFieldRef"))...)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		errs = append(errs, validateKeyRef(r.Name, r.Key, at.Child("configMapKeyRef"))...)
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		errs = append(errs, validateKeyRef(r.Name, r.Key, at.Child("secretKeyRef"))...)
	}
	if from.FileKeyRef != nil {
		sources++
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case e.Value != "":
		errs = append(errs, field.Invalid(at, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateFieldRef(r *corev1.ObjectFieldSelector, allowed []string, at *field.Path) field.ErrorList {
	for _, m := range []string{"metadata.labels['", "metadata.annotations['"} {
		if key, ok := strings.CutPrefix(r.FieldPath, m); ok && strings.HasSuffix(key, "']") {
			return qualifiedName(strings.ToLower(strings.TrimSuffix(key, "']")), at)
		}
	}
	at = at.Child("fieldPath")
	switch {
	case r.FieldPath == "":
		return field.ErrorList{field.Required(at, "")}
	case slices.Contains(allowed, r.FieldPath):
		return nil
	case slices.Contains(convertiblePaths, r.FieldPath), slices.Contains(podFieldPaths, r.FieldPath):
		return field.ErrorList{field.NotSupported(at, r.FieldPath, allowed)}
	}
	return field.ErrorList{field.Invalid(at, r.FieldPath, "error converting fieldPath: field label not supported: "+r.FieldPath)}
}

// containerResources may be read into an environment variable, and hugepages of any size.
var containerResources = []string{
	"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
}

var byteDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}

func validateResourceRef(r *corev1.ResourceFieldSelector, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	_, name, _ := strings.Cut(r.Resource, ".")
	divisors, what := byteDivisors, map[string]string{"memory": "memory", "ephemeral-storage": "local ephemeral storage"}[name]
	switch {
	case strings.HasPrefix(name, corev1.ResourceHugePagesPrefix):
		what = "hugepages"
	default:
		errs = append(errs, oneOf(r.Resource, at.Child("resource"), containerResources...)...)
	}
	text := strings.Join(divisors, ", ")
	if name == "cpu" {
		divisors, what, text = []string{"1m", "1"}, "cpu", "1m and 1"
	}
	if d := r.Divisor; what != "" && !d.IsZero() && !slices.Contains(divisors, d.String()) {
		errs = append(errs, field.Invalid(at.Child("divisor"), r.Resource,
			"only divisor's values "+text+" are supported with the "+what+" resource"))
	}
	return errs
}

func validateKeyRef(name, key string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, dnsSubdomain(name, at.Child("name"))...)
	if key == "" {
		return append(errs, field.Required(at.Child("key"), ""))
	}
	return append(errs, invalid(at.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func requiredSubdomain(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return dnsSubdomain(name, at)
}

// validateEnvFrom complains about the list where upstream does so.
func validateEnvFrom(e *corev1.EnvFromSource, list, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if e.Prefix != "" {
		errs = append(errs, invalid(at.Child("prefix"), e.Prefix, validation.IsRelaxedEnvVarName(e.Prefix))...)
	}
	if r := e.ConfigMapRef; r != nil {
		errs = append(errs, requiredSubdomain(r.Name, at.Child("configMapRef", "name"))...)
	}
	if r := e.SecretRef; r != nil {
		errs = append(errs, requiredSubdomain(r.Name, at.Child("secretRef", "name"))...)
	}
	switch {
	case e.ConfigMapRef == nil && e.SecretRef == nil:
		errs = append(errs, field.Invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"))
	case e.ConfigMapRef != nil && e.SecretRef != nil:
		errs = append(errs, field.Invalid(list, "", "may not have more than one field specified at a time"))
	}
	return errs
}
