package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// removedVolumes are types that no node can mount any longer, in upstream's order.
var removedVolumes = []struct{ name, shown, since string }{
	{"photonPersistentDisk", "", "deprecated in v1.11, non-functional in v1.16+"},
	{"gitRepo", "", "deprecated in v1.11, and disabled by default in v1.33+"},
	{"scaleIO", "", "deprecated in v1.16, non-functional in v1.22+"},
	{"flocker", "", "deprecated in v1.22, non-functional in v1.25+"},
	{"storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
	{"quobyte", "", "deprecated in v1.22, non-functional in v1.25+"},
	{"glusterfs", "", "deprecated in v1.25, non-functional in v1.26+"},
	{"cephfs", "", "deprecated in v1.28, non-functional in v1.31+"},
	{"rbd", "", "deprecated in v1.28, non-functional in v1.31+"},
}

func volumeWarnings(volumes []corev1.Volume, at *field.Path) []string {
	var w []string
	for i := range volumes {
		set := setFields(&volumes[i].VolumeSource)
		for _, r := range removedVolumes {
			if len(set) > 0 && set[0] == r.name {
				fill(&r.shown, r.name)
				w = append(w, fmt.Sprintf("%s: %s", at.Index(i).Child(r.shown), r.since))
			}
		}
	}
	for i := range volumes {
		w = append(w, overlapWarnings(&volumes[i])...)
	}
	return w
}

// file is a path in a volume, and whom it comes from, where there are several.
type file struct{ path, source string }

func (f file) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// overlapWarnings: of two files with one path the later wins, and a file cannot be a
// directory for others.
func overlapWarnings(v *corev1.Volume) []string {
	switch {
	case v.ConfigMap != nil:
		return overlaps(v.Name, fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), itemFiles(v.ConfigMap.Items, ""), 0)
	case v.Secret != nil:
		return overlaps(v.Name, fmt.Sprintf("Secret %q", v.Secret.SecretName), itemFiles(v.Secret.Items, ""), 0)
	case v.DownwardAPI != nil:
		return overlaps(v.Name, "DownwardAPI", downwardFiles(v.DownwardAPI.Items, ""), 0)
	case v.Projected != nil:
		var w []string
		var files []file
		for _, s := range v.Projected.Sources {
			if s == (corev1.VolumeProjection{}) {
				w = append(w, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
			}
			before := len(files)
			files = append(files, projectedFiles(&s)...)
			w = append(w, overlaps(v.Name, "Projected", files, before)...)
		}
		return w
	}
	return nil
}

func itemFiles(items []corev1.KeyToPath, source string) []file {
	var files []file
	for _, item := range items {
		files = append(files, file{item.Path, source})
	}
	return files
}

func downwardFiles(items []corev1.DownwardAPIVolumeFile, source string) []file {
	var files []file
	for _, item := range items {
		files = append(files, file{item.Path, source})
	}
	return files
}

func projectedFiles(s *corev1.VolumeProjection) []file {
	switch {
	case s.ConfigMap != nil:
		return itemFiles(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil:
		return itemFiles(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil:
		return downwardFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []file{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := deref(s.ClusterTrustBundle.Name)
		fill(&name, deref(s.ClusterTrustBundle.SignerName))
		return []file{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", name)}}
	}
	return nil
}

// overlaps are those of the files after the first ones with any before them.
func overlaps(volume, source string, files []file, first int) []string {
	var w []string
	for i := first; i < len(files); i++ {
		files[i].path = strings.TrimRight(files[i].path, "/")
		f := files[i]
		for _, other := range files[:i] {
			a, b := f.path+"/", other.path+"/"
			if f.path != "" && other.path != "" && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
				w = append(w, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, source, f, other))
			}
		}
	}
	return w
}
