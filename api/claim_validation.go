package api

import (
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateEphemeralVolume is about a volume that a claim is made for when the Pod is.
func validateEphemeralVolume(e *corev1.EphemeralVolumeSource, at *field.Path) field.ErrorList {
	at = at.Child("volumeClaimTemplate")
	t := e.VolumeClaimTemplate
	if t == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	meta := at.Child("metadata")
	errs := apivalidation.ValidateAnnotations(t.Annotations, meta.Child("annotations"))
	errs = append(errs, metavalidation.ValidateLabels(t.Labels, meta.Child("labels"))...)
	for _, name := range otherMetadata(t.ObjectMeta) {
		errs = append(errs, field.Forbidden(meta.Child(name), "cannot be set"))
	}
	return append(errs, validateClaimSpec(&t.Spec, at.Child("spec"))...)
}

func validateClaimSpec(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	modes := at.Child("accessModes")
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(modes, "at least 1 access mode is required"))
	}
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	others := false
	for _, m := range s.AccessModes {
		wrong := supported(m, modes, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		errs = append(errs, wrong...)
		others = others || len(wrong) == 0 && m != corev1.ReadWriteOncePod
	}
	if others && slices.Contains(s.AccessModes, corev1.ReadWriteOncePod) {
		errs = append(errs, field.Forbidden(modes, "may not use ReadWriteOncePod with other access modes"))
	}
	storage := at.Child("resources").Key(string(corev1.ResourceStorage))
	if q, asked := s.Resources.Requests[corev1.ResourceStorage]; !asked {
		errs = append(errs, field.Required(storage, ""))
	} else if q.Sign() <= 0 {
		errs = append(errs, field.Invalid(storage, q.String(), "must be greater than zero"))
	}
	if c := deref(s.StorageClassName); c != "" {
		errs = append(errs, dnsSubdomain(c, at.Child("storageClassName"))...)
	}
	errs = append(errs, supportedIfSet(s.VolumeMode, at.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	errs = append(errs, validateDataSources(s, at)...)
	if c := deref(s.VolumeAttributesClassName); c != "" {
		errs = append(errs, dnsSubdomain(c, at.Child("volumeAttributesClassName"))...)
	}
	return errs
}

// validateDataSources: dataSource is the older, narrower name of dataSourceRef.
func validateDataSources(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(group *string, kind, name string, at *field.Path) {
		errs = append(errs, needed(at, "name", name, "kind", kind)...)
		if deref(group) != "" {
			errs = append(errs, dnsSubdomain(*group, at.Child("apiGroup"))...)
		} else if kind != "PersistentVolumeClaim" {
			errs = append(errs, field.Invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
		}
	}
	old, ref := s.DataSource, s.DataSourceRef
	if old != nil {
		check(old.APIGroup, old.Kind, old.Name, at.Child("dataSource"))
	}
	if ref == nil {
		return errs
	}
	check(ref.APIGroup, ref.Kind, ref.Name, at.Child("dataSourceRef"))
	namespace := deref(ref.Namespace)
	if namespace != "" {
		errs = append(errs, invalid(at.Child("dataSourceRef", "namespace"), namespace, apivalidation.ValidateNamespaceName(namespace, false))...)
	}
	switch {
	case old == nil:
	case namespace != "":
		errs = append(errs, field.Invalid(at, struct{}{}, "may not be specified when dataSourceRef.namespace is specified"))
	case deref(old.APIGroup) != deref(ref.APIGroup) || old.Kind != ref.Kind || old.Name != ref.Name:
		errs = append(errs, field.Invalid(at, struct{}{}, "must match dataSourceRef"))
	}
	return errs
}

// otherMetadata names what is set beside labels and annotations.
func otherMetadata(m metav1.ObjectMeta) []string {
	m.Labels, m.Annotations = nil, nil
	var names []string
	v := reflect.ValueOf(m)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !v.Field(i).IsZero() {
			names = append(names, strings.ToLower(name[:1])+name[1:])
		}
	}
	return names
}
