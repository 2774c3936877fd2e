package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"orrery.example.org/apiserver/store"
	"orrery.example.org/apiserver/usage"
)

// summaryTime is how long a node may take to say what it uses.
const summaryTime = 5 * time.Second

// summary asks a node what it and its Pods use.
func (n *nodeClient) summary(ctx context.Context, node string) (*usage.Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, summaryTime)
	defer cancel()
	where, err := n.location(ctx, node)
	if err != nil {
		return nil, err
	}
	where.Path = "/stats/summary"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := n.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("node %s answers %s", node, resp.Status)
	}
	return usage.Read(resp.Body)
}

// measure is the verbs get and list of what is measured. What cannot be had is left out
// of a list, as upstream.
func (h *handlers) measure(c *call) error {
	subjects, err := h.measured(c)
	if err != nil {
		return err
	}
	byNode := map[string][]*store.Version{}
	for _, v := range subjects {
		name := v.Object.GetName()
		if pod, ok := v.Object.(*corev1.Pod); ok {
			name = pod.Spec.NodeName
		}
		if name != "" {
			byNode[name] = append(byNode[name], v)
		}
	}
	var (
		all     usages
		looking sync.WaitGroup
	)
	for node, here := range byNode {
		looking.Go(func() {
			looks, err := h.meter.Look(c.ctx(), node)
			if err != nil {
				h.log.Debug("what a node uses is not known", "node", node, "err", err)
				return
			}
			all.add(here, looks)
		})
	}
	looking.Wait()
	if c.name != "" {
		if object := all.only(); object != nil {
			return c.respondObject(http.StatusOK, object, c.version.GroupVersionKind)
		}
		return apierrors.NewNotFound(c.kind.GroupResource(), c.name)
	}
	list, kind := all.list(c.kind.Namespaced)
	return c.respondObject(http.StatusOK, list, c.version.GroupVersion().WithKind(kind))
}

// measured are the nodes or Pods that the call is about.
func (h *handlers) measured(c *call) ([]*store.Version, error) {
	subjects := h.core(c.kind.Resource)
	if c.name != "" {
		v, err := subjects.objects.Get(c.ctx(), c.namespace, c.name, true)
		if apierrors.IsNotFound(err) {
			err = apierrors.NewNotFound(c.kind.GroupResource(), c.name)
		}
		return []*store.Version{v}, err
	}
	query := c.r.URL.Query()
	matching, err := newMatcher(subjects, query.Get("labelSelector"), query.Get("fieldSelector"))
	if err != nil {
		return nil, err
	}
	found, err := subjects.objects.List(c.ctx(), store.ListOptions{Namespace: c.namespace, AnyRevision: true})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(found.Items), func(v *store.Version) bool { return !matching.matches(v.Object) }), nil
}

// usages collects what several nodes say.
type usages struct {
	mu    sync.Mutex
	nodes []metricsv1beta1.NodeMetrics
	pods  []metricsv1beta1.PodMetrics
}

// add works out what these objects, of one node, used between two looks.
func (u *usages) add(objects []*store.Version, looks usage.Looks) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, v := range objects {
		meta := metav1.ObjectMeta{Name: v.Object.GetName(), Namespace: v.Object.GetNamespace(), Labels: v.Object.GetLabels(), CreationTimestamp: metav1.Now()}
		if _, ok := v.Object.(*corev1.Node); ok {
			if m := looks.Node(meta); m != nil {
				u.nodes = append(u.nodes, *m)
			}
		} else if m := looks.Pod(meta, string(v.Object.GetUID())); m != nil {
			u.pods = append(u.pods, *m)
		}
	}
}

// only is the one there is, or nil.
func (u *usages) only() runtime.Object {
	switch {
	case len(u.nodes) == 1:
		return &u.nodes[0]
	case len(u.pods) == 1:
		return &u.pods[0]
	}
	return nil
}

// list is all of them, in order.
func (u *usages) list(pods bool) (list runtime.Object, kind string) {
	if pods {
		slices.SortFunc(u.pods, func(a, b metricsv1beta1.PodMetrics) int { return compareNames(&a, &b) })
		return &metricsv1beta1.PodMetricsList{Items: append([]metricsv1beta1.PodMetrics{}, u.pods...)}, "PodMetricsList"
	}
	slices.SortFunc(u.nodes, func(a, b metricsv1beta1.NodeMetrics) int { return compareNames(&a, &b) })
	return &metricsv1beta1.NodeMetricsList{Items: append([]metricsv1beta1.NodeMetrics{}, u.nodes...)}, "NodeMetricsList"
}

func compareNames(a, b metav1.Object) int {
	return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
}
