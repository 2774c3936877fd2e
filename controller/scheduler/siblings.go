package scheduler

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The skews of the two constraints by which upstream spreads Pods unasked.
const (
	skewOfNodes = 3
	skewOfZones = 5
)

// siblingScore likes nodes and zones with few Pods of the same controller, such as the
// replicas of a Deployment, where these do not say how they want to be spread.
//
// Kubernetes: counts those of one Service, too.
func siblingScore(pod *corev1.Pod, fits []*nodeInfo, all cluster) []int64 {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || len(pod.Spec.TopologySpreadConstraints) > 0 {
		return nil
	}
	inZone, zones := map[string]int64{}, map[string]bool{}
	for _, n := range all.nodes {
		if n.node == nil {
			continue
		}
		if zone, ok := n.domain(corev1.LabelTopologyZone); ok {
			inZone[zone] += n.kin[owner.UID]
		}
	}
	for _, n := range fits {
		if zone, ok := n.domain(corev1.LabelTopologyZone); ok {
			zones[zone] = true
		}
	}
	// One Pod more weighs less where there are few places.
	weigh := func(count int64, places, skew int) float64 {
		return float64(count)*math.Log(float64(places+2)) + float64(skew-1)
	}
	raw := make([]int64, len(fits))
	for i, n := range fits {
		var sum float64
		if _, ok := n.domain(corev1.LabelHostname); ok {
			sum += weigh(n.kin[owner.UID], len(fits), skewOfNodes)
		}
		if zone, ok := n.domain(corev1.LabelTopologyZone); ok {
			sum += weigh(inZone[zone], len(zones), skewOfZones)
		}
		raw[i] = int64(math.Round(sum))
	}
	least, most := slices.Min(raw), slices.Max(raw)
	if most == 0 {
		return nil
	}
	for i := range raw {
		raw[i] = maxScore * (most + least - raw[i]) / most
	}
	return raw
}
