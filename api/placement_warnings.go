package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// deprecatedLabels are labels of nodes that newer ones have replaced.
var deprecatedLabels = map[string]string{
	"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region":      `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":        `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":              `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
	"app.kubernetes.io/created-by":                  `deprecated since v1.9`,
	"scheduler.alpha.kubernetes.io/preferAvoidPods": `deprecated since v1.22; use Taints and Tolerations instead`,
	"node-role.kubernetes.io/master":                `use "node-role.kubernetes.io/control-plane" instead`,
}

// placementWarnings are about the nodes that a Pod wants. at is the spec's path.
func placementWarnings(spec *corev1.PodSpec, at *field.Path) []string {
	var w []string
	for label := range ordered(spec.NodeSelector) {
		if why, old := deprecatedLabels[label]; old {
			w = append(w, fmt.Sprintf("%s: %s", at.Child("nodeSelector").Key(label), why))
		}
	}
	nodes, affinity := deref(deref(spec.Affinity).NodeAffinity), at.Child("affinity", "nodeAffinity")
	for i := range deref(nodes.RequiredDuringSchedulingIgnoredDuringExecution).NodeSelectorTerms {
		t := &nodes.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[i]
		w = append(w, nodeTermWarnings(t, false, affinity.Child(required, "nodeSelectorTerms").Index(i))...)
	}
	for i := range nodes.PreferredDuringSchedulingIgnoredDuringExecution {
		t := &nodes.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference
		w = append(w, nodeTermWarnings(t, true, affinity.Child(preferred).Index(i).Child("preference"))...)
	}
	for i, c := range spec.TopologySpreadConstraints {
		at := at.Child("topologySpreadConstraints").Index(i)
		if why, old := deprecatedLabels[c.TopologyKey]; old {
			w = append(w, fmt.Sprintf("%s: %s is %s", at.Child("topologyKey"), c.TopologyKey, why))
		}
		if c.LabelSelector == nil {
			w = append(w, matchesNothing(at))
		}
	}
	return w
}

func matchesNothing(at *field.Path) string {
	return fmt.Sprintf("%s: a null labelSelector results in matching no pod", at.Child("labelSelector"))
}

// nodeTermWarnings: what would be refused in a required term is only odd in a preferred one.
func nodeTermWarnings(t *corev1.NodeSelectorTerm, preferred bool, at *field.Path) []string {
	var w []string
	for i, r := range t.MatchExpressions {
		at := at.Child("matchExpressions").Index(i)
		if why, old := deprecatedLabels[r.Key]; old {
			w = append(w, fmt.Sprintf("%s: %s is %s", at.Child("key"), r.Key, why))
		}
		if !preferred {
			continue
		}
		for j, value := range r.Values {
			for _, wrong := range validation.IsValidLabelValue(value) {
				w = append(w, fmt.Sprintf("%s: %s is invalid, %s", at.Child("values").Index(j), value, wrong))
			}
		}
	}
	return w
}

// podTermWarnings are about the other Pods that a Pod wants near or far.
func podTermWarnings(spec *corev1.PodSpec, at *field.Path) []string {
	var w []string
	for t := range podTerms(spec.Affinity, at.Child("affinity")) {
		if t.LabelSelector == nil {
			w = append(w, matchesNothing(t.at))
		}
	}
	return w
}
