package api

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
)

const (
	rolePrefix = "node-role.kubernetes.io/" // node-role.kubernetes.io/control-plane=
	roleLabel  = "kubernetes.io/role"       // kubernetes.io/role=control-plane
)

var nodes = define(Kind{
	Versions:       []Version{version[corev1.Node, corev1.NodeList](corev1.SchemeGroupVersion, "Node")},
	Resource:       "nodes",
	Singular:       "node",
	ShortNames:     []string{"no"},
	Subresources:   []Subresource{proxySubresource("NodeProxyOptions")},
	StatusOnCreate: true, // a node registers itself, addresses and all
	ValidateName:   apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("Status", "The status of the node", nodeStatus),
		column("Roles", "The roles of the node", nodeRoles),
		ageColumn(),
		infoColumn("Version", "kubeletVersion", func(i *corev1.NodeSystemInfo) string { return i.KubeletVersion }),
		addressColumn("Internal-IP", corev1.NodeInternalIP).wide(),
		addressColumn("External-IP", corev1.NodeExternalIP).wide(),
		infoColumn("OS-Image", "osImage", func(i *corev1.NodeSystemInfo) string { return orUnknown(i.OSImage) }).wide(),
		infoColumn("Kernel-Version", "kernelVersion", func(i *corev1.NodeSystemInfo) string { return orUnknown(i.KernelVersion) }).wide(),
		infoColumn("Container-Runtime", "containerRuntimeVersion", func(i *corev1.NodeSystemInfo) string { return orUnknown(i.ContainerRuntimeVersion) }).wide(),
	},
}, Rules[corev1.Node]{
	Status:         func(n *corev1.Node) any { return &n.Status },
	Default:        defaultNode,
	Validate:       validateNode,
	ValidateUpdate: validateNodeUpdate,
	ValidateStatus: validateNodeStatus,
	Warnings:       nodeWarnings,
	Fields: func(n *corev1.Node) fields.Set {
		return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
	},
})

// defaultNode: what a node does not reserve for itself, it offers.
func defaultNode(n *corev1.Node) {
	switch spec := &n.Spec; { // one network in two fields: the older one counts
	case spec.PodCIDR != "" && (len(spec.PodCIDRs) == 0 || spec.PodCIDRs[0] != spec.PodCIDR):
		spec.PodCIDRs = []string{spec.PodCIDR}
	case len(spec.PodCIDRs) > 0:
		spec.PodCIDR = spec.PodCIDRs[0]
	}
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if status = "NotReady"; c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(n *corev1.Node) string {
	var roles []string
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, rolePrefix); ok && role != "" {
			roles = append(roles, role)
		} else if key == roleLabel && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return orNone(strings.Join(slices.Compact(roles), ","))
}

// infoColumn shows a field of the node's system info.
func infoColumn(name, field string, value func(*corev1.NodeSystemInfo) string) Column {
	return column(name, doc(corev1.NodeSystemInfo{}, field), func(n *corev1.Node) string { return value(&n.Status.NodeInfo) })
}

func addressColumn(name string, kind corev1.NodeAddressType) Column {
	return column(name, doc(corev1.NodeStatus{}, "addresses"), func(n *corev1.Node) string {
		for _, a := range n.Status.Addresses {
			if a.Type == kind {
				return a.Address
			}
		}
		return none
	})
}

func orUnknown(s string) string {
	if s == "" {
		return "<unknown>"
	}
	return s
}

func nodeWarnings(n, _ *corev1.Node) []string {
	var w []string
	if n.Spec.ConfigSource != nil {
		w = append(w, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		w = append(w, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	return w
}
