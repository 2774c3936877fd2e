package api

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const maxFileMode = 0o777

// validateVolumes also returns the volumes that mounts may refer to. A claim that is made
// for a Pod's ephemeral volume is not there for others; pod is the Pod's name, if known.
func validateVolumes(volumes []corev1.Volume, pod string, at *field.Path) (map[string]*corev1.VolumeSource, field.ErrorList) {
	var errs field.ErrorList
	valid := map[string]*corev1.VolumeSource{}
	var created []string
	for _, v := range volumes {
		if v.Ephemeral != nil && pod != "" {
			created = append(created, pod+"-"+v.Name)
		}
	}
	for i := range volumes {
		v, at := &volumes[i], at.Index(i)
		wrong := validateVolumeSource(&v.VolumeSource, v.Name, pod, at)
		if v.Name == "" {
			wrong = append(wrong, field.Required(at.Child("name"), ""))
		} else {
			wrong = append(wrong, dnsLabel(v.Name, at.Child("name"))...)
		}
		if valid[v.Name] != nil {
			wrong = append(wrong, field.Duplicate(at.Child("name"), v.Name))
		}
		if errs = append(errs, wrong...); len(wrong) == 0 {
			valid[v.Name] = &v.VolumeSource
		}
		if c := v.PersistentVolumeClaim; c != nil && slices.Contains(created, c.ClaimName) {
			errs = append(errs, field.Invalid(at.Child("persistentVolumeClaim", "claimName"), c.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume"))
		}
	}
	return valid, errs
}

// validateVolumeSource: a volume is of one type. volume and pod are names.
func validateVolumeSource(s *corev1.VolumeSource, volume, pod string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	set, found := setFields(s), false
	for _, t := range volumeTypes {
		switch {
		case !slices.Contains(set, t.name):
		case found:
			errs = append(errs, field.Forbidden(at.Child(t.name), "may not specify more than 1 volume type"))
		default:
			found = true
			where := t.name
			if where == "gcePersistentDisk" {
				where = "persistentDisk" // upstream's name for it
			}
			errs = append(errs, t.rule(s, at.Child(where))...)
		}
	}
	if !found {
		return field.ErrorList{field.Required(at, "must specify a volume type")}
	}
	if i := s.ISCSI; i != nil && i.InitiatorName != nil && len(volume+":"+i.TargetPortal) > maxISCSI {
		errs = append(errs, field.Invalid(at.Child("name"), volume,
			"Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."))
	}
	if s.Ephemeral != nil && pod != "" && volume != "" {
		for _, wrong := range apivalidation.NameIsDNSSubdomain(pod+"-"+volume, false) {
			errs = append(errs, field.Invalid(at.Child("name"), volume, fmt.Sprintf("PVC name %q: %v", pod+"-"+volume, wrong)))
		}
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

// volumeFieldPaths are fields of a Pod that a file may have.
var volumeFieldPaths = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}

// validateDownwardFile doesn't say which file it complains about, as upstream doesn't.
func validateDownwardFile(f *corev1.DownwardAPIVolumeFile, at *field.Path) field.ErrorList {
	errs := needed(at, "path", f.Path)
	errs = append(errs, unreservedPath(f.Path, at.Child("path"))...)
	switch {
	case f.FieldRef != nil:
		errs = append(errs, validateFieldRef(f.FieldRef, volumeFieldPaths, at.Child("fieldRef"))...)
		if f.ResourceFieldRef != nil {
			errs = append(errs, field.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		}
	case f.ResourceFieldRef != nil:
		at := at.Child("resourceFieldRef")
		if f.ResourceFieldRef.ContainerName == "" {
			errs = append(errs, field.Required(at.Child("containerName"), ""))
		} else {
			errs = append(errs, validateResourceRef(f.ResourceFieldRef, at)...)
		}
	default:
		errs = append(errs, field.Required(at, "one of fieldRef and resourceFieldRef is required"))
	}
	return append(errs, validateMode(f.Mode, at.Child("mode"))...)
}

// unreservedPath is a path in a volume whose own files start with "..".
func unreservedPath(value string, at *field.Path) field.ErrorList {
	errs := relativePath(value, at)
	if strings.HasPrefix(value, "..") && !strings.HasPrefix(value, "../") {
		errs = append(errs, field.Invalid(at, value, "must not start with '..'"))
	}
	return errs
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
