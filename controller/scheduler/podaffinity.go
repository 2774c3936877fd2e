package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// term is a rule about which Pods are near, in whose Pod's name it speaks.
type term struct {
	*corev1.PodAffinityTerm
	weight   int64 // of a preference; negative: rather not
	owner    string
	selector labels.Selector
	others   labels.Selector // of namespaces
}

func newTerm(owner *corev1.Pod, t *corev1.PodAffinityTerm, weight int64) term {
	return term{t, weight, owner.Namespace, selectorOf(t.LabelSelector), selectorOf(t.NamespaceSelector)}
}

// selectorOf is Nothing for nil, and for what the API server would not let in.
func selectorOf(s *metav1.LabelSelector) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// matches says whether a Pod is one that the term is about.
func (t term) matches(pod *corev1.Pod, all cluster) bool {
	if !t.selector.Matches(labels.Set(pod.Labels)) {
		return false
	}
	switch {
	case len(t.Namespaces) == 0 && t.NamespaceSelector == nil:
		return pod.Namespace == t.owner
	case slices.Contains(t.Namespaces, pod.Namespace):
		return true
	case t.others.Empty():
		return true // every namespace
	default:
		return all.namespaces != nil && t.others.Matches(all.namespaces(pod.Namespace))
	}
}

// near and apart are what a Pod requires.
func near(pod *corev1.Pod) (terms []term) {
	if a := pod.Spec.Affinity; a != nil && a.PodAffinity != nil {
		for i := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			terms = append(terms, newTerm(pod, &a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i], 1))
		}
	}
	return terms
}

func apart(pod *corev1.Pod) (terms []term) {
	if a := pod.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			terms = append(terms, newTerm(pod, &a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i], -1))
		}
	}
	return terms
}

// wishes are what a Pod would like.
func wishes(pod *corev1.Pod) (terms []term) {
	a := pod.Spec.Affinity
	if a == nil {
		return nil
	}
	add := func(all []corev1.WeightedPodAffinityTerm, sign int64) {
		for i := range all {
			terms = append(terms, newTerm(pod, &all[i].PodAffinityTerm, sign*int64(all[i].Weight)))
		}
	}
	if a.PodAffinity != nil {
		add(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1)
	}
	if a.PodAntiAffinity != nil {
		add(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
	return terms
}

func isChoosy(pod *corev1.Pod) bool {
	a := pod.Spec.Affinity
	return a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil)
}

// domain is a part of the cluster: the nodes with this value of a label.
type domain struct{ key, value string }

// tally is a number per domain.
type tally map[domain]int64

func (t tally) add(n *nodeInfo, key string, weight int64) {
	if value, ok := n.domain(key); ok {
		t[domain{key, value}] += weight
	}
}

// at sums up the domains that a node is in.
func (t tally) at(n *nodeInfo) (sum int64) {
	for d, weight := range t {
		if value, ok := n.domain(d.key); ok && value == d.value {
			sum += weight
		}
	}
	return sum
}

// podAffinity keeps Pods near those that they must be near, and apart from those that
// they, or those, must be apart from.
func podAffinity(pod *corev1.Pod, all cluster) test {
	together, away := near(pod), apart(pod)
	wanted, unwanted, unwelcome := tally{}, tally{}, tally{}
	for _, n := range all.sorted() {
		for _, other := range n.choosy {
			for _, t := range apart(other) {
				if t.matches(pod, all) {
					unwelcome.add(n, t.TopologyKey, 1)
				}
			}
		}
		if len(together) == 0 && len(away) == 0 {
			continue
		}
		for _, other := range n.pods {
			if len(together) > 0 && matchesAll(together, other, all) {
				for _, t := range together {
					wanted.add(n, t.TopologyKey, 1)
				}
			}
			for _, t := range away {
				if t.matches(other, all) {
					unwanted.add(n, t.TopologyKey, 1)
				}
			}
		}
	}
	if len(together) == 0 && len(unwanted) == 0 && len(unwelcome) == 0 {
		return nil
	}
	// The first of Pods that want to be together would wait for ever.
	isFirst := len(wanted) == 0 && matchesAll(together, pod, all)
	return func(n *nodeInfo) refusal {
		switch {
		case !satisfied(together, n, wanted, isFirst):
			return refuseForGood("node(s) didn't match pod affinity rules")
		case unwanted.at(n) > 0:
			return refuse("node(s) didn't match pod anti-affinity rules")
		case unwelcome.at(n) > 0:
			return refuse("node(s) didn't satisfy existing pods anti-affinity rules")
		}
		return refusal{}
	}
}

func matchesAll(terms []term, pod *corev1.Pod, all cluster) bool {
	return !slices.ContainsFunc(terms, func(t term) bool { return !t.matches(pod, all) })
}

// satisfied says whether a node is in a domain, for each term, that has what is wanted.
func satisfied(terms []term, n *nodeInfo, wanted tally, isFirst bool) bool {
	return !slices.ContainsFunc(terms, func(t term) bool {
		value, ok := n.domain(t.TopologyKey)
		return !ok || !isFirst && wanted[domain{t.TopologyKey, value}] == 0
	})
}

// podAffinityScore likes nodes near the Pods that the Pod would like to be near, and those
// that would like to be near it.
func podAffinityScore(pod *corev1.Pod, fits []*nodeInfo, all cluster) []int64 {
	mine, points := wishes(pod), tally{}
	for _, n := range all.sorted() {
		if len(mine) > 0 {
			for _, other := range n.pods {
				for _, t := range mine {
					if t.matches(other, all) {
						points.add(n, t.TopologyKey, t.weight)
					}
				}
			}
		}
		for _, other := range n.choosy {
			for _, t := range append(wishes(other), near(other)...) {
				if t.matches(pod, all) {
					points.add(n, t.TopologyKey, t.weight)
				}
			}
		}
	}
	if len(points) == 0 {
		return nil
	}
	raw := make([]int64, len(fits))
	for i, n := range fits {
		raw[i] = points.at(n)
	}
	return ranks(raw, false)
}
