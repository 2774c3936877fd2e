package api

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits of a user's name on Windows, DOMAIN\\USER.
const (
	maxCredentialKiB = 64
	maxDomain        = 256
	maxUser          = 104
)

var (
	control     = regexp.MustCompile(`[[:cntrl:]]`)
	netBIOSName = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	domainName  = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	onlyDots    = regexp.MustCompile(`^[\. ]+$`)
)

func validateWindowsOptions(w *corev1.WindowsSecurityContextOptions, at *field.Path) field.ErrorList {
	if w == nil {
		return nil
	}
	var errs field.ErrorList
	if n := w.GMSACredentialSpecName; n != nil {
		errs = append(errs, dnsSubdomain(*n, at.Child("gmsaCredentialSpecName"))...)
	}
	if s := w.GMSACredentialSpec; s != nil {
		if *s == "" {
			errs = append(errs, field.Invalid(at.Child("gmsaCredentialSpec"), *s, "gmsaCredentialSpec cannot be an empty string"))
		} else if len(*s) > maxCredentialKiB*1024 {
			errs = append(errs, field.Invalid(at.Child("gmsaCredentialSpec"), *s, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", maxCredentialKiB)))
		}
	}
	if n := w.RunAsUserName; n != nil {
		for _, wrong := range windowsUser(*n) {
			errs = append(errs, field.Invalid(at.Child("runAsUserName"), *n, "runAsUserName"+wrong))
		}
	}
	return errs
}

// windowsUser says what is wrong with a user's name.
func windowsUser(name string) []string {
	parts := strings.Split(name, `\`)
	switch {
	case name == "":
		return []string{" cannot be an empty string"}
	case control.MatchString(name):
		return []string{" cannot contain control characters"}
	case len(parts) > 2:
		return []string{" cannot contain more than one backslash"}
	}
	var wrong []string
	user := parts[len(parts)-1]
	if len(parts[0]) >= maxDomain && len(parts) == 2 {
		wrong = append(wrong, fmt.Sprintf("'s Domain length must be under %d characters", maxDomain))
	}
	if d := parts[0]; len(parts) == 2 && !netBIOSName.MatchString(d) && !domainName.MatchString(d) {
		wrong = append(wrong, "'s Domain doesn't match the NetBios nor the DNS format")
	}
	if user == "" {
		wrong = append(wrong, "'s User cannot be empty")
	} else if len(user) > maxUser {
		wrong = append(wrong, fmt.Sprintf("'s User length must not be longer than %d characters", maxUser))
	}
	if onlyDots.MatchString(user) {
		wrong = append(wrong, "'s User cannot contain only periods or spaces")
	}
	if strings.ContainsAny(user, `"/\:;|=,+*?<>@[]`) {
		wrong = append(wrong, `'s User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return wrong
}

// validateHostProcesses: a Windows Pod is either all of containers or all of processes of
// the node, and the latter has the node's network.
func validateHostProcesses(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	whole := deref(deref(spec.SecurityContext).WindowsOptions).HostProcess
	all, processes := 0, 0
	for c, at := range everyContainer(spec, at) {
		all++
		own := deref(deref(c.SecurityContext).WindowsOptions).HostProcess
		if whole != nil && own != nil && *whole != *own {
			errs = append(errs, field.Invalid(at.Child("securityContext", "windowsOptions", "hostProcess"), *own,
				fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *whole)))
		}
		if deref(own) || own == nil && deref(whole) {
			processes++
		}
	}
	if processes > 0 && processes != all {
		errs = append(errs, field.Invalid(at, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"))
	}
	if processes > 0 && !spec.HostNetwork {
		errs = append(errs, field.Invalid(at.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers"))
	}
	return errs
}

// What neither a Pod's nor a container's security context may have on Windows.
var (
	notForWindowsPods = sets.New("appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls",
		"runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy")
	notForWindowsContainers = sets.New("appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem",
		"privileged", "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup")
)

// validateOS refuses what the Pod's operating system doesn't have.
func validateOS(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	switch {
	case spec.OS == nil:
		return nil
	case spec.OS.Name == "":
		return field.ErrorList{field.Required(at.Child("os", "name"), "")}
	case spec.OS.Name != corev1.Linux && spec.OS.Name != corev1.Windows:
		return supported(spec.OS.Name, at.Child("os"), corev1.Linux, corev1.Windows)
	}
	var errs field.ErrorList
	forbid := func(context any, names sets.Set[string], at *field.Path) {
		for _, name := range setFields(context) {
			if spec.OS.Name == corev1.Linux && name == "windowsOptions" {
				errs = append(errs, field.Forbidden(at.Child(name), "windows options cannot be set for a linux pod"))
			} else if spec.OS.Name == corev1.Windows && names.Has(name) {
				errs = append(errs, field.Forbidden(at.Child(name), "cannot be set for a windows pod"))
			}
		}
	}
	if s := spec.SecurityContext; s != nil {
		forbid(s, notForWindowsPods, at.Child("securityContext"))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"hostUsers", spec.HostUsers != nil}, {"hostPID", spec.HostPID}, {"hostIPC", spec.HostIPC},
		{"shareProcessNamespace", spec.ShareProcessNamespace != nil},
	} {
		if f.set && spec.OS.Name == corev1.Windows {
			errs = append(errs, field.Forbidden(at.Child(f.name), "cannot be set for a windows pod"))
		}
	}
	for c, at := range everyContainer(spec, at) {
		if s := c.SecurityContext; s != nil {
			forbid(s, notForWindowsContainers, at.Child("securityContext"))
		}
	}
	return errs
}
