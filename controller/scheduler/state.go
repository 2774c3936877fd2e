package scheduler

import (
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/podstate"
)

// state is the scheduler's picture of the cluster: the nodes, the Pods on them, and
// the Pods it has just placed but not yet seen there (assumed). Without the last, all
// Pods of a burst would go to the node that was emptiest at its start.
//
// One lock covers a decision and the events that may change it, so that no Pod is
// parked after the event that should have woken it.
type state struct {
	mu sync.Mutex
	cluster
	placed map[types.UID]string // node of each Pod, assumed or seen
	parked map[loop.Name]bool   // Pods that fitted nowhere; true: another Pod beside it may help

	nominated map[types.UID]nomination
}

// newState begins without nodes.
func newState(all cluster) *state {
	all.nodes = map[string]*nodeInfo{}
	return &state{cluster: all, placed: map[types.UID]string{}, parked: map[loop.Name]bool{}, nominated: map[types.UID]nomination{}}
}

// decision is what became of a Pod's turn; the zero value: it has a node already.
type decision struct {
	node    string      // where it goes
	message string      // or why it goes nowhere
	room    *preemption // and who is to go first; nil: nobody
}

// schedule picks a node and assumes the Pod there. If there is none, the Pod is parked
// and the message says why; where Pods of lower priority can make room, its place is kept
// until they have gone.
func (s *state) schedule(pod *corev1.Pod) decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	if node := s.placed[pod.UID]; node != "" {
		return decision{} // bound already; the cache does not show it yet
	}
	defer s.keepPlaces(pod)()
	target, why := pick(pod, s.cluster)
	if target != nil {
		delete(s.nominated, pod.UID)
		s.put(pod, target.Name)
		return decision{node: target.Name}
	}
	s.parked[loop.NameOf(pod)] = isChoosy(pod) || len(pod.Spec.TopologySpreadConstraints) > 0
	d := decision{message: why.String()}
	if len(why) == 0 {
		return d // there are no nodes
	}
	room, outcome := preempt(pod, s.cluster, why)
	d.room, d.message = room, d.message+" preemption: "+outcome
	if room != nil {
		s.nominated[pod.UID] = nomination{pod, room.node.node.Name}
	}
	return d
}

// nomination is a Pod that waits for room on a node that is being made for it.
type nomination struct {
	pod  *corev1.Pod
	node string
}

// keepPlaces has the nominated Pods that are as important as this one, or more, take their
// room while it is decided on this one.
func (s *state) keepPlaces(pod *corev1.Pod) (undo func()) {
	var kept []nomination
	for uid, n := range s.nominated {
		if info := s.nodes[n.node]; uid != pod.UID && info != nil && priority(n.pod) >= priority(pod) {
			info.add(n.pod)
			kept = append(kept, n)
		}
	}
	return func() {
		for _, n := range kept {
			s.nodes[n.node].remove(n.pod)
		}
	}
}

// forget takes back an assumption: the Pod could not be bound.
func (s *state) forget(pod *corev1.Pod) []loop.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(pod)
}

// sawPod takes note of a Pod (gone: of its end) and returns the Pods to try again.
func (s *state) sawPod(pod *corev1.Pod, gone bool) []loop.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone {
		delete(s.parked, loop.NameOf(pod))
	}
	switch {
	case gone || podstate.IsTerminal(pod):
		if _, kept := s.nominated[pod.UID]; kept {
			delete(s.nominated, pod.UID)
			return s.unpark() // it needs its place no more
		}
		return s.take(pod)
	case pod.Spec.NodeName != "":
		delete(s.parked, loop.NameOf(pod))
		delete(s.nominated, pod.UID)
		return s.sawPlaced(pod)
	}
	return nil
}

// sawPlaced takes note of a Pod that has a node. One that is new there, or has other
// labels now, may be what others wait for.
func (s *state) sawPlaced(pod *corev1.Pod) []loop.Name {
	var before *corev1.Pod
	if n := s.nodes[pod.Spec.NodeName]; n != nil {
		before = n.pods[pod.UID]
	}
	s.put(pod, pod.Spec.NodeName)
	if before != nil && before.Spec.NodeName != "" && maps.Equal(before.Labels, pod.Labels) {
		return nil
	}
	var names []loop.Name
	for name, choosy := range s.parked {
		if choosy {
			names = append(names, name)
			delete(s.parked, name)
		}
	}
	return names
}

// sawNamespace takes note that a namespace has other labels now.
func (s *state) sawNamespace() []loop.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unpark()
}

// sawNode takes note of a node and returns the Pods to try again.
func (s *state) sawNode(old, cur *corev1.Node) []loop.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cur == nil {
		if n := s.nodes[old.Name]; n != nil {
			n.node = nil
			s.drop(old.Name, n)
		}
		return nil
	}
	s.info(cur.Name).node = cur
	if !mayHelp(old, cur) {
		return nil
	}
	return s.unpark()
}

// put places a Pod, wherever it was before.
func (s *state) put(pod *corev1.Pod, node string) {
	if was, ok := s.placed[pod.UID]; ok {
		s.nodes[was].remove(pod)
	}
	s.placed[pod.UID] = node
	s.info(node).add(pod)
}

// take removes a Pod from its node, which makes room.
func (s *state) take(pod *corev1.Pod) []loop.Name {
	node, ok := s.placed[pod.UID]
	if !ok {
		return nil
	}
	delete(s.placed, pod.UID)
	n := s.nodes[node]
	n.remove(pod)
	s.drop(node, n)
	return s.unpark()
}

// drop forgets a node that neither exists nor has Pods.
func (s *state) drop(name string, n *nodeInfo) {
	if n.node == nil && len(n.pods) == 0 {
		delete(s.nodes, name)
	}
}

func (s *state) info(name string) *nodeInfo {
	if s.nodes[name] == nil {
		s.nodes[name] = newNodeInfo()
	}
	return s.nodes[name]
}

func (s *state) unpark() []loop.Name {
	var names []loop.Name
	for name := range s.parked {
		names = append(names, name)
	}
	clear(s.parked)
	return names
}

func resourceEqual(a, b resource.Quantity) bool { return a.Cmp(b) == 0 }
