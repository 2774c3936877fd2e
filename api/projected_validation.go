package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateProjected is about a volume that puts several sources into one directory.
//
// Kubernetes: has rules for cluster trust bundles and Pod certificates, too.
func validateProjected(v *corev1.ProjectedVolumeSource, volume *field.Path) field.ErrorList {
	errs := validateMode(v.DefaultMode, volume.Child("defaultMode"))
	paths := sets.New[string]()
	conflicting := func(path, value string) {
		if path == "" {
			return
		}
		if paths.Has(path) {
			errs = append(errs, field.Invalid(volume, value, "conflicting duplicate paths"))
		}
		paths.Insert(path)
	}
	named := func(kind, name string, items []corev1.KeyToPath, at *field.Path) {
		at = at.Child(kind)
		if name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		errs = append(errs, validateItems(items, at.Child("items"))...)
		for _, item := range items {
			conflicting(item.Path, name)
		}
	}
	for i := range v.Sources {
		s, at := &v.Sources[i], volume.Child("sources").Index(i)
		if s.Secret != nil {
			named("secret", s.Secret.Name, s.Secret.Items, at)
		}
		if s.ConfigMap != nil {
			named("configMap", s.ConfigMap.Name, s.ConfigMap.Items, at)
		}
		if s.DownwardAPI != nil {
			for j := range s.DownwardAPI.Items {
				item := &s.DownwardAPI.Items[j]
				errs = append(errs, validateDownwardFile(item, at.Child("downwardAPI"))...)
				conflicting(item.Path, item.Path)
			}
		}
		if s.ServiceAccountToken != nil {
			errs = append(errs, validateTokenProjection(s.ServiceAccountToken, at.Child("serviceAccountToken"), volume.Child("path"))...)
		}
		if sources := setFields(s); len(sources) > 1 {
			errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type per source"))
		}
	}
	return errs
}

// validateTokenProjection reports a bad path, as upstream does, at the volume itself.
func validateTokenProjection(t *corev1.ServiceAccountTokenProjection, at, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seconds := at.Child("expirationSeconds")
	switch exp := t.ExpirationSeconds; {
	case exp == nil:
		errs = append(errs, field.Required(seconds, ""))
	case *exp < 10*60:
		errs = append(errs, field.Invalid(seconds, *exp, "may not specify a duration less than 10 minutes"))
	case *exp > 1<<32:
		errs = append(errs, field.Invalid(seconds, *exp, "may not specify a duration larger than 2^32 seconds"))
	}
	if t.Path == "" {
		return append(errs, field.Required(path, ""))
	}
	return append(errs, unreservedPath(t.Path, path)...)
}
