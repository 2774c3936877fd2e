package api

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A volume appears in a container as a directory, or, a claimed one, as a block device;
// not as both.

func validateVolumeMounts(c *corev1.Container, volumes map[string]*corev1.VolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	paths := sets.New[string]()
	for i := range c.VolumeMounts {
		m, list, at := &c.VolumeMounts[i], at, at.Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if volumes[m.Name] == nil {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if paths.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == m.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices"))
		}
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.DevicePath == m.MountPath }) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices"))
		}
		errs = append(errs, relativePath(m.SubPath, list.Child("subPath"))...)
		if m.SubPath != "" && m.SubPathExpr != "" {
			errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
		errs = append(errs, relativePath(m.SubPathExpr, list.Child("subPathExpr"))...)
		errs = append(errs, validatePropagation(m, c, list)...)
	}
	return errs
}

// validatePropagation complains about the list, as upstream does.
func validatePropagation(m *corev1.VolumeMount, c *corev1.Container, at *field.Path) field.ErrorList {
	propagation, recursive := at.Child("mountPropagation"), at.Child("recursiveReadOnly")
	errs := supportedIfSet(m.MountPropagation, propagation, corev1.MountPropagationBidirectional,
		corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
	if deref(m.MountPropagation) == corev1.MountPropagationBidirectional && !deref(deref(c.SecurityContext).Privileged) {
		errs = append(errs, field.Forbidden(propagation, "Bidirectional mount propagation is available only to privileged containers"))
	}
	errs = append(errs, supportedIfSet(m.RecursiveReadOnly, recursive, corev1.RecursiveReadOnlyDisabled,
		corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)...)
	if r := deref(m.RecursiveReadOnly); r != corev1.RecursiveReadOnlyEnabled && r != corev1.RecursiveReadOnlyIfPossible {
		return errs
	}
	if !m.ReadOnly {
		errs = append(errs, field.Forbidden(recursive, "may only be specified when readOnly is true"))
	}
	if p := m.MountPropagation; p != nil && *p != corev1.MountPropagationNone {
		errs = append(errs, field.Forbidden(recursive, "may only be specified when mountPropagation is None or not specified"))
	}
	return errs
}

func validateVolumeDevices(c *corev1.Container, volumes map[string]*corev1.VolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names, paths := sets.New[string](), sets.New[string]()
	for i, d := range c.VolumeDevices {
		name, path := at.Index(i).Child("name"), at.Index(i).Child("devicePath")
		wrong := func(bad bool, at *field.Path, value, why string) {
			if bad {
				errs = append(errs, field.Invalid(at, value, why))
			}
		}
		if d.Name == "" {
			errs = append(errs, field.Required(name, ""))
		}
		wrong(names.Has(d.Name), name, d.Name, "must be unique")
		if v := volumes[d.Name]; v == nil {
			errs = append(errs, field.NotFound(name, d.Name))
		} else {
			wrong(v.PersistentVolumeClaim == nil && v.Ephemeral == nil, name, d.Name,
				"can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		if d.DevicePath == "" {
			errs = append(errs, field.Required(path, ""))
		}
		wrong(paths.Has(d.DevicePath), path, d.DevicePath, "must be unique")
		if slices.Contains(strings.Split(d.DevicePath, "/"), "..") {
			errs = append(errs, field.Invalid(path, d.DevicePath, "can not contain backsteps ('..')"))
		} else {
			paths.Insert(d.DevicePath)
		}
		for _, m := range c.VolumeMounts {
			wrong(m.Name == d.Name, name, d.Name, "must not already exist in volumeMounts")
			wrong(m.MountPath == d.DevicePath, path, d.DevicePath, "must not already exist as a path in volumeMounts")
		}
		if d.Name != "" {
			names.Insert(d.Name)
		}
	}
	return errs
}
