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
	StatusOnCreate: true, // a node registers itself, addresses and all
	ValidateName:   apivalidation.NameIsDNSSubdomain,
	Columns: []Column{
		nameColumn(),
		column("Status", "The status of the node", func(n *corev1.Node) any { return nodeStatus(n) }),
		column("Roles", "The roles of the node", func(n *corev1.Node) any { return nodeRoles(n) }),
		ageColumn(),
		column("Version", doc(corev1.NodeSystemInfo{}, "kubeletVersion"), func(n *corev1.Node) any { return n.Status.NodeInfo.KubeletVersion }),
		column("Internal-IP", doc(corev1.NodeStatus{}, "addresses"), func(n *corev1.Node) any { return nodeAddress(n, corev1.NodeInternalIP) }).wide(),
		column("External-IP", doc(corev1.NodeStatus{}, "addresses"), func(n *corev1.Node) any { return nodeAddress(n, corev1.NodeExternalIP) }).wide(),
		column("OS-Image", doc(corev1.NodeSystemInfo{}, "osImage"), func(n *corev1.Node) any { return orUnknown(n.Status.NodeInfo.OSImage) }).wide(),
		column("Kernel-Version", doc(corev1.NodeSystemInfo{}, "kernelVersion"), func(n *corev1.Node) any { return orUnknown(n.Status.NodeInfo.KernelVersion) }).wide(),
		column("Container-Runtime", doc(corev1.NodeSystemInfo{}, "containerRuntimeVersion"), func(n *corev1.Node) any { return orUnknown(n.Status.NodeInfo.ContainerRuntimeVersion) }).wide(),
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

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return none
}

func orUnknown(s string) string {
	if s == "" {
		return "<unknown>"
	}
	return s
}

func nodeWarnings(n *corev1.Node) []string {
	var w []string
	if n.Spec.ConfigSource != nil {
		w = append(w, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		w = append(w, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	return w
}
