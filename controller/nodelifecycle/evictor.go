package nodelifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"orrery.example.org/controller/loop"
	"orrery.example.org/controller/podstate"
)

// Evictor deletes Pods from nodes with NoExecute taints that they do not tolerate, or
// not for long. It acts on any such taint, whoever put it there. Its names are those
// of Pods.
type Evictor struct {
	*loop.Loop[loop.Name]

	client   kubernetes.Interface
	pods     corelisters.PodLister
	podIndex cache.Indexer
	nodes    corelisters.NodeLister
	events   record.EventRecorder

	mu      sync.Mutex
	since   map[taintID]time.Time // first sight of taints that bear no time
	pending map[loop.Name]bool    // Pods that are to be evicted later
}

type taintID struct{ node, key, value string }

// NewEvictor makes the loop and says what wakes it.
func NewEvictor(env loop.Env) (*Evictor, error) {
	core := env.Informers.Core().V1()
	if err := loop.AddIndex(core.Pods().Informer(), podstate.NodeIndex, podstate.ByNode); err != nil {
		return nil, err
	}
	e := &Evictor{
		client:   env.Client,
		pods:     core.Pods().Lister(),
		podIndex: core.Pods().Informer().GetIndexer(),
		nodes:    core.Nodes().Lister(),
		events:   env.Recorder("taint-eviction-controller"),
		since:    map[taintID]time.Time{},
		pending:  map[loop.Name]bool{},
	}
	e.Loop = loop.New("tainteviction", env, e.sync)
	loop.Watch(e.Loop, core.Nodes().Informer(), e.nodeChanged)
	loop.Watch(e.Loop, core.Pods().Informer(), func(old, cur *corev1.Pod) {
		if cur == nil {
			cur = old // to cancel what is pending
		} else if old != nil && old.Spec.NodeName == cur.Spec.NodeName &&
			apiequality.Semantic.DeepEqual(old.Spec.Tolerations, cur.Spec.Tolerations) {
			return
		}
		e.Add(loop.NameOf(cur))
	})
	return e, nil
}

func (e *Evictor) nodeChanged(old, cur *corev1.Node) {
	if old != nil && cur != nil && apiequality.Semantic.DeepEqual(old.Spec.Taints, cur.Spec.Taints) {
		return
	}
	node := cur
	if node == nil {
		node = old
	}
	if cur == nil || len(cur.Spec.Taints) == 0 {
		e.forget(node.Name)
	}
	pods, err := loop.ByIndex[*corev1.Pod](e.podIndex, podstate.NodeIndex, node.Name)
	if err != nil {
		e.Log().Error("find the Pods of a node", "err", err)
	}
	for _, pod := range pods {
		e.Add(loop.NameOf(pod))
	}
}

// sync evicts one Pod if its time has come.
func (e *Evictor) sync(ctx context.Context, name loop.Name) error {
	pod, err := e.pods.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		e.setPending(name, false)
		return nil
	}
	if err != nil || pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil || podstate.IsMirror(pod) {
		return err
	}
	at, stays := time.Time{}, true
	if node, err := e.nodes.Get(pod.Spec.NodeName); err == nil {
		at, stays = evictAt(pod, node.Spec.Taints, func(t corev1.Taint) time.Time { return e.added(node.Name, t) })
	}
	switch in := time.Until(at); {
	case stays:
		if e.setPending(name, false) {
			e.events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s", name)
		}
		return nil
	case in > 0:
		e.setPending(name, true)
		e.AddAfter(name, in)
		return nil
	default:
		return e.evict(ctx, pod)
	}
}

func (e *Evictor) evict(ctx context.Context, pod *corev1.Pod) error {
	name := loop.NameOf(pod)
	client := e.client.CoreV1().Pods(pod.Namespace)
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
			Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint",
		}}},
	})
	if err != nil {
		return err
	}
	e.setPending(name, false)
	if !hasDisruption(pod) {
		e.events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s", name)
		_, err := client.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("mark Pod %s for eviction: %w", name, err)
		}
	}
	err = client.Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("evict Pod %s: %w", name, err)
	}
	return nil
}

func hasDisruption(pod *corev1.Pod) bool {
	c := podstate.Condition(pod, corev1.DisruptionTarget)
	return c != nil && c.Status == corev1.ConditionTrue
}

// added is when the taint was put on the node. Those that people put there say nothing
// about it, and count from when we first saw them.
func (e *Evictor) added(node string, t corev1.Taint) time.Time {
	if t.TimeAdded != nil {
		return t.TimeAdded.Time
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	id := taintID{node, t.Key, t.Value}
	if e.since[id].IsZero() {
		e.since[id] = time.Now()
	}
	return e.since[id]
}

func (e *Evictor) forget(node string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range e.since {
		if id.node == node {
			delete(e.since, id)
		}
	}
}

// setPending notes whether the Pod is to be evicted later, and returns what was noted before.
func (e *Evictor) setPending(name loop.Name, pending bool) (before bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before = e.pending[name]
	if pending {
		e.pending[name] = true
	} else {
		delete(e.pending, name)
	}
	return before
}

// toleration is the Pod's first toleration of a taint, or nil.
func toleration(pod *corev1.Pod, taint corev1.Taint) *corev1.Toleration {
	for i := range pod.Spec.Tolerations {
		if t := &pod.Spec.Tolerations[i]; t.ToleratesTaint(klog.Background(), &taint, true) {
			return t
		}
	}
	return nil
}
