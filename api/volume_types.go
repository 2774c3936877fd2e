package api

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumeType is a row of the table of volumes: the JSON name of the field that says what
// is mounted, and the rule for it.
type volumeType struct {
	name string
	rule func(v *corev1.VolumeSource, at *field.Path) field.ErrorList
}

// volumeTypes are in the order in which a volume that is of several types is taken to be
// of the first.
var volumeTypes = []volumeType{
	{"emptyDir", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		if l := v.EmptyDir.SizeLimit; l != nil && l.Sign() < 0 {
			return field.ErrorList{field.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
		}
		return nil
	}},
	{"hostPath", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList { return validateHostPath(v.HostPath, at) }},
	{"gitRepo", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return append(needed(at, "repository", v.GitRepo.Repository), relativePath(v.GitRepo.Directory, at.Child("directory"))...)
	}},
	{"gcePersistentDisk", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return validateDisk("pdName", v.GCEPersistentDisk.PDName, v.GCEPersistentDisk.Partition, at)
	}},
	{"awsElasticBlockStore", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return validateDisk("volumeID", v.AWSElasticBlockStore.VolumeID, v.AWSElasticBlockStore.Partition, at)
	}},
	{"secret", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		errs := needed(at, "secretName", v.Secret.SecretName)
		errs = append(errs, validateMode(v.Secret.DefaultMode, at.Child("defaultMode"))...)
		return append(errs, validateItems(v.Secret.Items, at.Child("items"))...)
	}},
	{"nfs", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		errs := needed(at, "server", v.NFS.Server, "path", v.NFS.Path)
		if !path.IsAbs(v.NFS.Path) {
			errs = append(errs, field.Invalid(at.Child("path"), v.NFS.Path, "must be an absolute path"))
		}
		return errs
	}},
	{"iscsi", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList { return validateISCSI(v.ISCSI, at) }},
	{"glusterfs", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return needed(at, "endpoints", v.Glusterfs.EndpointsName, "path", v.Glusterfs.Path)
	}},
	{"flocker", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList { return validateFlocker(v.Flocker, at) }},
	{"persistentVolumeClaim", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return needed(at, "claimName", v.PersistentVolumeClaim.ClaimName)
	}},
	{"rbd", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return needed(at, "monitors", strings.Join(v.RBD.CephMonitors, ","), "image", v.RBD.RBDImage)
	}},
	{"cinder", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return append(needed(at, "volumeID", v.Cinder.VolumeID), namedSecret(v.Cinder.SecretRef, at)...)
	}},
	{"cephfs", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return needed(at, "monitors", strings.Join(v.CephFS.Monitors, ","))
	}},
	{"quobyte", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList { return validateQuobyte(v.Quobyte, at) }},
	{"downwardAPI", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		errs := validateMode(v.DownwardAPI.DefaultMode, at.Child("defaultMode"))
		for i := range v.DownwardAPI.Items {
			errs = append(errs, validateDownwardFile(&v.DownwardAPI.Items[i], at)...)
		}
		return errs
	}},
	{"fc", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList { return validateFC(v.FC, at) }},
	{"flexVolume", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList { return validateFlex(v.FlexVolume, at) }},
	{"configMap", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		errs := needed(at, "name", v.ConfigMap.Name)
		errs = append(errs, validateMode(v.ConfigMap.DefaultMode, at.Child("defaultMode"))...)
		return append(errs, validateItems(v.ConfigMap.Items, at.Child("items"))...)
	}},
	{"azureFile", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return needed(at, "secretName", v.AzureFile.SecretName, "shareName", v.AzureFile.ShareName)
	}},
	{"vsphereVolume", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return needed(at, "volumePath", v.VsphereVolume.VolumePath)
	}},
	{"photonPersistentDisk", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return needed(at, "pdID", v.PhotonPersistentDisk.PdID)
	}},
	{"portworxVolume", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return needed(at, "volumeID", v.PortworxVolume.VolumeID)
	}},
	{"azureDisk", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return validateAzureDisk(v.AzureDisk, at)
	}},
	{"storageos", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		errs := needed(at, "volumeName", v.StorageOS.VolumeName)
		if len(errs) == 0 {
			errs = dnsLabel(v.StorageOS.VolumeName, at.Child("volumeName"))
		}
		if n := v.StorageOS.VolumeNamespace; n != "" {
			errs = append(errs, dnsLabel(n, at.Child("volumeNamespace"))...)
		}
		return append(errs, namedSecret(v.StorageOS.SecretRef, at)...)
	}},
	{"projected", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return validateProjected(v.Projected, at)
	}},
	{"scaleIO", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return needed(at, "gateway", v.ScaleIO.Gateway, "system", v.ScaleIO.System, "volumeName", v.ScaleIO.VolumeName)
	}},
	{"csi", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList { return validateCSI(v.CSI, at) }},
	{"ephemeral", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return validateEphemeralVolume(v.Ephemeral, at)
	}},
	{"image", func(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
		return append(needed(at, "reference", v.Image.Reference), oneOf(v.Image.PullPolicy, at.Child("pullPolicy"),
			corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	}},
}

// needed wants values for fields, given as name, value, name, value.
func needed(at *field.Path, fields ...string) field.ErrorList {
	var errs field.ErrorList
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] == "" {
			errs = append(errs, field.Required(at.Child(fields[i]), ""))
		}
	}
	return errs
}

func namedSecret(ref *corev1.LocalObjectReference, at *field.Path) field.ErrorList {
	if ref == nil {
		return nil
	}
	return needed(at.Child("secretRef"), "name", ref.Name)
}
