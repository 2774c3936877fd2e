package performance

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	benchWatchers = 50
	benchEvents   = 100 // in a round
)

// fanOut measures ConfigMaps, one after the other, from the client's send until each of
// the watchers has received the event. The other server tells of the same ConfigMap
// again and again.
func (a *apiBench) fanOut(b *testing.B) {
	since := a.prepareWatch(b)
	ours, stopOurs := follow(b, &a.ours, since)
	defer stopOurs()
	theirs, stopTheirs := follow(b, &a.theirs, since)
	defer stopTheirs()
	next := 0
	round := func(s *side, t *tally, f *followers) {
		cpu := s.cpu(b)
		took, each := f.round(b, s, &next)
		t.took, t.cpu, t.each = t.took+took, t.cpu+s.cpu(b)-cpu, append(t.each, each...)
	}
	var one, other tally
	round(&a.ours, &tally{}, ours)
	round(&a.theirs, &tally{}, theirs)
	for range 8 * b.N {
		round(&a.ours, &one, ours)
		round(&a.theirs, &other, theirs)
	}
	report(b, &one, &other)
}

// prepareWatch gives our server's answer to a create, and its event, to the other, and
// returns the revision of that.
func (a *apiBench) prepareWatch(b *testing.B) string {
	maps := a.ours.client.CoreV1().ConfigMaps(benchNamespace)
	created, err := maps.Create(b.Context(), benchConfigMap(0), metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	path := "/api/v1/namespaces/" + benchNamespace + "/configmaps"
	header := http.Header{"Accept": {"application/json"}}
	_, event := request(b, &a.ours, http.MethodGet, path+"?watch=1&timeoutSeconds=1&labelSelector=bench%3Dfanout", header, nil)
	if n := bytes.Count(event, []byte("\n")); n != 1 {
		b.Fatalf("one event was expected, not %d:\n%s", n, event)
	}
	_, object := request(b, &a.ours, http.MethodGet, path+"/"+benchConfigMap(0).Name, header, nil)
	request(b, &a.theirs, http.MethodPut, "/event", http.Header{}, event)
	request(b, &a.theirs, http.MethodPut, "/created", http.Header{"Content-Type": {"application/json"}}, object)
	return created.ResourceVersion
}

func benchConfigMap(i int) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("w%d", i), Labels: map[string]string{"bench": "fanout"}},
		Data:       map[string]string{"i": fmt.Sprint(i)},
	}
}

// followers are watches. The n-th event of each is the n-th write.
type followers struct {
	sent   [benchEvents]atomic.Int64
	mu     sync.Mutex
	took   []time.Duration // of the present round
	all    chan struct{}   // told when everybody has seen it
	broken chan watch.Event
}

func follow(b *testing.B, s *side, since string) (f *followers, stop func()) {
	f = &followers{all: make(chan struct{}, 1), broken: make(chan watch.Event, benchWatchers)}
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	for range benchWatchers {
		c := kubernetes.NewForConfigOrDie(rest.CopyConfig(s.config)).CoreV1().ConfigMaps(benchNamespace)
		w, err := c.Watch(ctx, metav1.ListOptions{LabelSelector: "bench=fanout", ResourceVersion: since})
		if err != nil {
			b.Fatal(err)
		}
		all.Go(func() {
			defer w.Stop()
			f.read(w)
		})
	}
	return f, func() {
		cancel()
		all.Wait()
	}
}

// read notes the events until the watch ends.
func (f *followers) read(w watch.Interface) {
	for n := 0; ; n++ {
		e := <-w.ResultChan()
		now := time.Now().UnixNano()
		if _, ok := e.Object.(*corev1.ConfigMap); !ok {
			f.broken <- e
			return
		}
		f.mu.Lock()
		f.took = append(f.took, time.Duration(now-f.sent[n%benchEvents].Load()))
		if len(f.took) == benchEvents*benchWatchers {
			f.all <- struct{}{}
		}
		f.mu.Unlock()
	}
}

// round writes and waits until everybody has seen it.
func (f *followers) round(b *testing.B, s *side, next *int) (took time.Duration, each []time.Duration) {
	f.took = nil
	start := time.Now()
	for i := range benchEvents {
		f.sent[i].Store(time.Now().UnixNano())
		*next++
		if _, err := s.client.CoreV1().ConfigMaps(benchNamespace).Create(b.Context(), benchConfigMap(*next), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-f.all:
	case e := <-f.broken:
		b.Fatalf("a watch ended: %v", e)
	}
	return time.Since(start), f.took
}
