// Package volume knows what is in the volumes of a Pod and puts it into directories.
//
// Upstream counterpart: kubelet's volume plugins configmap, secret, downwardapi,
// projected, empty-dir and host-path, with the AtomicWriter that they share. In flow a
// volume of a Pod's spec and a Source that looks ConfigMaps, Secrets, tokens and the Pod's
// own fields up; out comes a directory of the node, which package sandbox mounts into
// containers.
//
// Left out: every volume that lives outside its node (persistentVolumeClaim, csi, nfs,
// …), images, trust bundles and Pod certificates, fsGroup. Kubernetes keeps Secrets in memory (tmpfs);
// here they are files of the agent's directory, readable by the agent's user alone.
package volume

import (
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

// Source looks up what volumes are made of.
type Source interface {
	ConfigMap(name string) (*corev1.ConfigMap, error)
	Secret(name string) (*corev1.Secret, error)
	Field(path string) (string, error)
	Resource(ref *corev1.ResourceFieldSelector) (string, error)
	Token(projection *corev1.ServiceAccountTokenProjection) (string, error)
}

// File is one file of a volume.
type File struct {
	Data []byte
	Mode int32
}

// Payload is the contents of a volume, by path.
type Payload map[string]File

// defaultMode is that of files whose mode nobody set.
const defaultMode = 0o644

// HasContents says whether the volume is made of objects of the API, so that it has
// contents to follow. Such volumes are mounted read-only.
func HasContents(v *corev1.VolumeSource) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// Contents is what belongs into a volume that HasContents.
func Contents(v *corev1.VolumeSource, from Source) (Payload, error) {
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return configMap(from, s.Name, s.Items, mode(s.DefaultMode), ptr.Deref(s.Optional, false))
	case v.Secret != nil:
		s := v.Secret
		return secret(from, s.SecretName, s.Items, mode(s.DefaultMode), ptr.Deref(s.Optional, false))
	case v.DownwardAPI != nil:
		return downward(from, v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode))
	case v.Projected != nil:
		return projected(from, v.Projected)
	}
	return nil, errors.New("no contents")
}

func mode(m *int32) int32 { return ptr.Deref(m, defaultMode) }

// projected puts several sources into one directory. Later ones win.
func projected(from Source, v *corev1.ProjectedVolumeSource) (Payload, error) {
	all, mode := Payload{}, mode(v.DefaultMode)
	var errs []error
	for i := range v.Sources {
		var part Payload
		var err error
		switch s := &v.Sources[i]; {
		case s.ConfigMap != nil:
			part, err = configMap(from, s.ConfigMap.Name, s.ConfigMap.Items, mode, ptr.Deref(s.ConfigMap.Optional, false))
		case s.Secret != nil:
			part, err = secret(from, s.Secret.Name, s.Secret.Items, mode, ptr.Deref(s.Secret.Optional, false))
		case s.DownwardAPI != nil:
			part, err = downward(from, s.DownwardAPI.Items, mode)
		case s.ServiceAccountToken != nil:
			part, err = token(from, s.ServiceAccountToken, mode)
		default:
			err = errors.New("this node can project configMap, secret, downwardAPI and serviceAccountToken only")
		}
		errs = append(errs, err)
		maps.Copy(all, part)
	}
	return all, errors.Join(errs...)
}

func token(from Source, t *corev1.ServiceAccountTokenProjection, mode int32) (Payload, error) {
	text, err := from.Token(t)
	if err != nil {
		return nil, err
	}
	return Payload{t.Path: {[]byte(text), mode}}, nil
}

func configMap(from Source, name string, items []corev1.KeyToPath, mode int32, optional bool) (Payload, error) {
	object, err := from.ConfigMap(name)
	if err != nil {
		return missing(err, optional)
	}
	data := maps.Clone(object.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for k, v := range object.Data {
		data[k] = []byte(v)
	}
	return pick(data, items, mode, optional, "configmap references non-existent config key: %s")
}

func secret(from Source, name string, items []corev1.KeyToPath, mode int32, optional bool) (Payload, error) {
	object, err := from.Secret(name)
	if err != nil {
		return missing(err, optional)
	}
	return pick(object.Data, items, mode, optional, "references non-existent secret key: %s")
}

// missing is an empty volume where the object may be absent.
func missing(err error, optional bool) (Payload, error) {
	if optional && apierrors.IsNotFound(err) {
		return Payload{}, nil
	}
	return nil, err
}

// pick makes files of all keys, or of those in items.
func pick(data map[string][]byte, items []corev1.KeyToPath, mode int32, optional bool, absent string) (Payload, error) {
	files := Payload{}
	if len(items) == 0 {
		for key, value := range data {
			files[key] = File{value, mode}
		}
		return files, nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		switch {
		case ok:
			files[item.Path] = File{value, ptr.Deref(item.Mode, mode)}
		case !optional:
			return nil, fmt.Errorf(absent, item.Key)
		}
	}
	return files, nil
}

func downward(from Source, items []corev1.DownwardAPIVolumeFile, mode int32) (Payload, error) {
	files := Payload{}
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = from.Field(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = from.Resource(item.ResourceFieldRef)
		}
		if err != nil {
			return nil, err
		}
		files[item.Path] = File{[]byte(value), ptr.Deref(item.Mode, mode)}
	}
	return files, nil
}
