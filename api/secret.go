package api

import (
	"crypto/tls"

	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var secrets = define(Kind{
	Versions:     []Version{version[corev1.Secret, corev1.SecretList](corev1.SchemeGroupVersion, "Secret")},
	Resource:     "secrets",
	Singular:     "secret",
	Namespaced:   true,
	ValidateName: apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("Type", doc(corev1.Secret{}, "type"), func(s *corev1.Secret) any { return string(s.Type) }),
		column("Data", doc(corev1.Secret{}, "data"), func(s *corev1.Secret) any { return int64(len(s.Data)) }),
		ageColumn(),
	},
}, Rules[corev1.Secret]{
	Default:        defaultSecret,
	Validate:       validateSecret,
	PrepareUpdate:  func(s, old *corev1.Secret) { fill(&s.Type, old.Type) },
	ValidateUpdate: validateSecretUpdate,
	Warnings:       secretWarnings,
	Fields:         func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
})

// secretWarnings: a key that doesn't fit its certificate is stored all the same.
func secretWarnings(s, _ *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// defaultSecret also moves stringData, which is for writing only, into data.
func defaultSecret(s *corev1.Secret) {
	fill(&s.Type, corev1.SecretTypeOpaque)
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, value := range ordered(s.Data) {
		errs = append(errs, invalid(field.NewPath("data").Key(key), key, validation.IsConfigMapKey(key))...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath("data"), "", corev1.MaxSecretSize))
	}
	return append(errs, validateSecretType(s)...)
}

// validateSecretType holds a Secret to the keys its type promises.
func validateSecretType(s *corev1.Secret) field.ErrorList {
	at := field.NewPath("data")
	var errs field.ErrorList
	need := func(keys ...string) {
		for _, key := range keys {
			if _, ok := s.Data[key]; !ok {
				errs = append(errs, field.Required(at.Key(key), ""))
			}
		}
	}
	isJSON := func(key string) {
		need(key)
		if value, ok := s.Data[key]; ok {
			if err := json.Unmarshal(value, &map[string]any{}); err != nil {
				errs = append(errs, field.Invalid(at.Key(key), "<secret contents redacted>", err.Error()))
			}
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		isJSON(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		isJSON(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			need(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(at.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return errs
}

func validateSecretUpdate(s, old *corev1.Secret) field.ErrorList {
	errs := immutable(s.Type, old.Type, field.NewPath("type"))
	if isImmutable(old.Immutable) {
		if !isImmutable(s.Immutable) {
			errs = append(errs, sealed("immutable"))
		}
		if !equality.Semantic.DeepEqual(s.Data, old.Data) {
			errs = append(errs, sealed("data"))
		}
	}
	return append(errs, validateSecret(s)...)
}
