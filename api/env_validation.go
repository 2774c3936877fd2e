package api

import (
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
		errs = append(errs, validateEnvFrom(&c.EnvFrom[i], at.Child("envFrom").Index(i))...)
	}
	return errs
}

func validateEnvSource(e *corev1.EnvVar, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	from, sources := e.ValueFrom, 0
	if r := from.FieldRef; r != nil {
		sources++
		errs = append(errs, validateFieldRef(r, at.Child("fieldRef"))...)
	}
	if r := from.ResourceFieldRef; r != nil {
		sources++
		if r.Resource == "" {
			errs = append(errs, field.Required(at.Child("resourceFieldRef", "resource"), ""))
		}
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
		errs = append(errs, field.Invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"))
	case e.Value != "":
		errs = append(errs, field.Invalid(at, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateFieldRef(r *corev1.ObjectFieldSelector, at *field.Path) field.ErrorList {
	for _, m := range []string{"metadata.labels['", "metadata.annotations['"} {
		if key, ok := strings.CutPrefix(r.FieldPath, m); ok && strings.HasSuffix(key, "']") {
			return qualifiedName(strings.ToLower(strings.TrimSuffix(key, "']")), at)
		}
	}
	return oneOf(r.FieldPath, at.Child("fieldPath"), podFieldPaths...)
}

func validateKeyRef(name, key string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	if key == "" {
		return append(errs, field.Required(at.Child("key"), ""))
	}
	return append(errs, invalid(at.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateEnvFrom(e *corev1.EnvFromSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if e.Prefix != "" {
		errs = append(errs, invalid(at.Child("prefix"), e.Prefix, validation.IsRelaxedEnvVarName(e.Prefix))...)
	}
	if r := e.ConfigMapRef; r != nil && r.Name == "" {
		errs = append(errs, field.Required(at.Child("configMapRef", "name"), ""))
	}
	if r := e.SecretRef; r != nil && r.Name == "" {
		errs = append(errs, field.Required(at.Child("secretRef", "name"), ""))
	}
	switch {
	case e.ConfigMapRef == nil && e.SecretRef == nil:
		errs = append(errs, field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
	case e.ConfigMapRef != nil && e.SecretRef != nil:
		errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
	}
	return errs
}
