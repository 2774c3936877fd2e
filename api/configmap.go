package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var configMaps = define(Kind{
	Versions:     []Version{version[corev1.ConfigMap, corev1.ConfigMapList](corev1.SchemeGroupVersion, "ConfigMap")},
	Resource:     "configmaps",
	Singular:     "configmap",
	ShortNames:   []string{"cm"},
	Namespaced:   true,
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("Data", doc(corev1.ConfigMap{}, "data"), func(c *corev1.ConfigMap) any { return int64(len(c.Data) + len(c.BinaryData)) }),
		ageColumn(),
	},
}, Rules[corev1.ConfigMap]{
	Validate:       validateConfigMap,
	ValidateUpdate: validateConfigMapUpdate,
})

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, value := range ordered(c.Data) {
		at := field.NewPath("data").Key(key)
		errs = append(errs, invalid(at, key, validation.IsConfigMapKey(key))...)
		if _, twice := c.BinaryData[key]; twice {
			errs = append(errs, field.Invalid(at, key, "duplicate of key present in binaryData"))
		}
		size += len(value)
	}
	for key, value := range ordered(c.BinaryData) {
		errs = append(errs, invalid(field.NewPath("binaryData").Key(key), key, validation.IsConfigMapKey(key))...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath(""), c, corev1.MaxSecretSize))
	}
	return errs
}

func validateConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	errs := validateConfigMap(c)
	if !isImmutable(old.Immutable) {
		return errs
	}
	if !isImmutable(c.Immutable) {
		errs = append(errs, sealed("immutable"))
	}
	if !equality.Semantic.DeepEqual(c.Data, old.Data) {
		errs = append(errs, sealed("data"))
	}
	if !equality.Semantic.DeepEqual(c.BinaryData, old.BinaryData) {
		errs = append(errs, sealed("binaryData"))
	}
	return errs
}

func isImmutable(b *bool) bool { return b != nil && *b }

// sealed is the error for a field of an immutable ConfigMap or Secret.
func sealed(name string) *field.Error {
	return field.Forbidden(field.NewPath(name), "field is immutable when `immutable` is set")
}
