package api

import (
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const maxFileMode = 0o777

// validateVolumes also returns the names that volume mounts may refer to.
//
// Kubernetes: every kind of volume has rules. Here those that a node can mount have.
func validateVolumes(volumes []corev1.Volume, at *field.Path) (sets.Set[string], field.ErrorList) {
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range volumes {
		v, at := &volumes[i], at.Index(i)
		wrong := validateVolumeSource(&v.VolumeSource, at)
		if v.Name == "" {
			wrong = append(wrong, field.Required(at.Child("name"), ""))
		} else {
			wrong = append(wrong, dnsLabel(v.Name, at.Child("name"))...)
		}
		if names.Has(v.Name) {
			wrong = append(wrong, field.Duplicate(at.Child("name"), v.Name))
		}
		if errs = append(errs, wrong...); len(wrong) == 0 {
			names.Insert(v.Name)
		}
	}
	return names, errs
}

func validateVolumeSource(s *corev1.VolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	sources := setFields(s)
	if len(sources) == 0 {
		return field.ErrorList{field.Required(at, "must specify a volume type")}
	}
	for _, name := range sources[1:] {
		errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
	}
	switch {
	case s.EmptyDir != nil:
		if l := s.EmptyDir.SizeLimit; l != nil && l.Sign() < 0 {
			errs = append(errs, field.Forbidden(at.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity"))
		}
	case s.HostPath != nil:
		errs = append(errs, validateHostPath(s.HostPath, at.Child("hostPath"))...)
	case s.Secret != nil:
		at := at.Child("secret")
		if s.Secret.SecretName == "" {
			errs = append(errs, field.Required(at.Child("secretName"), ""))
		}
		errs = append(errs, validateMode(s.Secret.DefaultMode, at.Child("defaultMode"))...)
		errs = append(errs, validateItems(s.Secret.Items, at.Child("items"))...)
	case s.ConfigMap != nil:
		at := at.Child("configMap")
		if s.ConfigMap.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		errs = append(errs, validateMode(s.ConfigMap.DefaultMode, at.Child("defaultMode"))...)
		errs = append(errs, validateItems(s.ConfigMap.Items, at.Child("items"))...)
	case s.Projected != nil:
		errs = append(errs, validateProjected(s.Projected, at.Child("projected"))...)
	}
	return errs
}

// setFields lists the JSON names of a struct's fields that are not nil; all are pointers.
func setFields(s any) []string {
	var names []string
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if !v.Field(i).IsNil() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

func validateHostPath(h *corev1.HostPathVolumeSource, at *field.Path) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(at.Child("path"), "")}
	}
	if slices.Contains(strings.Split(h.Path, "/"), "..") {
		return field.ErrorList{field.Invalid(at.Child("path"), h.Path, "must not contain '..'")}
	}
	if h.Type == nil {
		return nil
	}
	return supported(*h.Type, at.Child("type"), corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
		corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)
}

func validateItems(items []corev1.KeyToPath, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		at := at.Index(i)
		if item.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		}
		if item.Path == "" {
			errs = append(errs, field.Required(at.Child("path"), ""))
		}
		errs = append(errs, relativePath(item.Path, at.Child("path"))...)
		errs = append(errs, validateMode(item.Mode, at.Child("mode"))...)
	}
	return errs
}

func validateMode(mode *int32, at *field.Path) field.ErrorList {
	if mode == nil || *mode >= 0 && *mode <= maxFileMode {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
}
