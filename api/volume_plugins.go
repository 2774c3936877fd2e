package api

import (
	"net"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Rules of storage from outside of the cluster, for those that need more than names.

const (
	maxISCSI      = 64
	maxTenant     = 64
	maxDriverName = 63
	maxLUN        = 255
	maxPartition  = 255
)

// iscsiNames are how initiators and targets are called, by their first letters.
var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

func iscsiName(name string, at *field.Path) field.ErrorList {
	switch format := iscsiNames[name[:min(3, len(name))]]; {
	case format == nil:
		return field.ErrorList{field.Invalid(at, name, "must be valid format starting with iqn, eui, or naa")}
	case !format.MatchString(name):
		return field.ErrorList{field.Invalid(at, name, "must be valid format")}
	}
	return nil
}

func validateISCSI(i *corev1.ISCSIVolumeSource, at *field.Path) field.ErrorList {
	errs := needed(at, "targetPortal", i.TargetPortal, "iqn", i.IQN)
	if i.IQN != "" {
		errs = append(errs, iscsiName(i.IQN, at.Child("iqn"))...)
	}
	errs = append(errs, between(i.Lun, 0, maxLUN, at.Child("lun"))...)
	if (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil {
		errs = append(errs, field.Required(at.Child("secretRef"), ""))
	}
	if n := i.InitiatorName; n != nil {
		errs = append(errs, iscsiName(*n, at.Child("initiatorname"))...)
	}
	return errs
}

func between(value int32, low, high int, at *field.Path) field.ErrorList {
	if int(value) < low || int(value) > high {
		return field.ErrorList{field.Invalid(at, value, validation.InclusiveRangeError(low, high))}
	}
	return nil
}

// validateDisk: partition 0 is the whole disk, though the message speaks of 1 to 255.
func validateDisk(name, id string, partition int32, at *field.Path) field.ErrorList {
	errs := needed(at, name, id)
	if partition < 0 || partition > maxPartition {
		errs = append(errs, field.Invalid(at.Child("partition"), partition, validation.InclusiveRangeError(1, maxPartition)))
	}
	return errs
}

func validateFC(f *corev1.FCVolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := at.Child("targetWWNs")
	switch {
	case len(f.TargetWWNs)+len(f.WWIDs) == 0:
		errs = append(errs, field.Required(names, "must specify either targetWWNs or wwids, but not both"))
	case len(f.TargetWWNs) > 0 && len(f.WWIDs) > 0:
		errs = append(errs, field.Invalid(names, f.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously"))
	}
	switch {
	case len(f.TargetWWNs) == 0:
	case f.Lun == nil:
		errs = append(errs, field.Required(at.Child("lun"), "lun is required if targetWWNs is specified"))
	default:
		errs = append(errs, between(*f.Lun, 0, maxLUN, at.Child("lun"))...)
	}
	return errs
}

func validateFlocker(f *corev1.FlockerVolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case f.DatasetName == "" && f.DatasetUUID == "":
		errs = append(errs, field.Required(at, "one of datasetName and datasetUUID is required"))
	case f.DatasetName != "" && f.DatasetUUID != "":
		errs = append(errs, field.Invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
	}
	if strings.Contains(f.DatasetName, "/") {
		errs = append(errs, field.Invalid(at.Child("datasetName"), f.DatasetName, "must not contain '/'"))
	}
	return errs
}

func validateQuobyte(q *corev1.QuobyteVolumeSource, at *field.Path) field.ErrorList {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	var errs field.ErrorList
	switch {
	case q.Registry == "":
		errs = append(errs, field.Required(at.Child("registry"), pairs))
	case len(q.Tenant) > maxTenant:
		errs = append(errs, field.Required(at.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for _, pair := range strings.Split(q.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				errs = append(errs, field.Invalid(at.Child("registry"), q.Registry, pairs))
			}
		}
	}
	return append(errs, needed(at, "volume", q.Volume)...)
}

func validateFlex(f *corev1.FlexVolumeSource, at *field.Path) field.ErrorList {
	errs := needed(at, "driver", f.Driver)
	for option := range ordered(f.Options) {
		domain, _, _ := strings.Cut(option, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			errs = append(errs, field.Invalid(at.Child("options").Key(option), option, "kubernetes.io and k8s.io namespaces are reserved"))
		}
	}
	return errs
}

func validateAzureDisk(d *corev1.AzureDiskVolumeSource, at *field.Path) field.ErrorList {
	errs := needed(at, "diskName", d.DiskName, "diskURI", d.DataDiskURI)
	errs = append(errs, supportedIfSet(d.CachingMode, at.Child("cachingMode"),
		corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)...)
	errs = append(errs, supportedIfSet(d.Kind, at.Child("kind"),
		corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)...)
	if d.Kind == nil {
		return errs
	}
	prefix, like := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *d.Kind == corev1.AzureManagedDisk {
		prefix = "/subscriptions/"
		like = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(d.DataDiskURI, prefix) {
		errs = append(errs, field.NotSupported(at.Child("diskURI"), d.DataDiskURI, []string{like}))
	}
	return errs
}

func validateCSI(c *corev1.CSIVolumeSource, at *field.Path) field.ErrorList {
	errs := driverName(c.Driver, at.Child("driver"))
	if ref := c.NodePublishSecretRef; ref != nil {
		missing := needed(at.Child("nodePublishSecretRef"), "name", ref.Name)
		if errs = append(errs, missing...); len(missing) == 0 {
			errs = append(errs, dnsSubdomain(ref.Name, at.Child("name"))...)
		}
	}
	return errs
}

func driverName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > maxDriverName {
		errs = append(errs, field.TooLong(at, "", maxDriverName))
	}
	return append(errs, invalid(at, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}
