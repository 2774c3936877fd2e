package faults

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

const (
	kills    = 4
	clients  = 6
	register = "register-" // and a number
	names    = 3
	between  = 250 // acknowledged writes between two kills
)

// An operation on a register, as the checker sees it. Every write writes a value that
// no other does, so a value stands for the resourceVersion it was written at.
type input struct {
	name  string
	verb  string // get, create, swap, delete
	old   string // what swap and delete expect to be there
	value string // what create and swap write
}

// output is what the client was told; unknown: nothing, the connection broke; never:
// there wasn't even one.
type output struct {
	never   bool
	unknown bool
	done    bool
	value   string // get: "" if there is none
}

// registers says what a correct server may answer: a register holds a value or "".
var registers = porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byName := map[string][]porcupine.Operation{}
		for _, o := range history {
			byName[o.Input.(input).name] = append(byName[o.Input.(input).name], o)
		}
		var all [][]porcupine.Operation
		for _, h := range byName {
			all = append(all, h)
		}
		return all
	},
	Step:              func(state, in, out any) []any { return step(state.(string), in.(input), out.(output)) },
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// step returns what may be there after the operation was answered so.
func step(state string, in input, out output) []any {
	next, possible := state, false
	switch in.verb {
	case "get":
		if out.unknown || out.value == state {
			return []any{state}
		}
		return nil
	case "create":
		next, possible = in.value, state == ""
	case "swap":
		next, possible = in.value, state == in.old
	case "delete":
		next, possible = "", state == in.old
	}
	switch {
	case out.unknown && possible:
		return []any{state, next}
	case out.unknown:
		return []any{state}
	case out.done == possible:
		if possible {
			return []any{next}
		}
		return []any{state}
	}
	return nil
}

// TestLinearizable kills the server again and again under compare-and-swaps of many
// clients. Their history must be one that a single register could have had, and a
// watch that goes on over the kills must have seen just that history.
func TestLinearizable(t *testing.T) {
	s := start(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	seen := follow(ctx, t, s.client())

	h := &history{begin: time.Now(), acknowledged: map[string]string{}}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for id := range clients {
		client := s.client()
		wg.Go(func() { h.use(ctx, stop, client, id) })
	}
	for n := range kills {
		h.wait(ctx, int64((n+1)*between))
		s.kill()
		s.boot()
	}
	h.wait(ctx, (kills+1)*between)
	close(stop)
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatal("the server was too slow to break")
	}

	result, info := porcupine.CheckOperationsVerbose(registers.ToModel(), h.operations, time.Minute)
	if result != porcupine.Ok {
		file := t.ArtifactDir() + "/history.html"
		_ = porcupine.VisualizePath(registers.ToModel(), info, file)
		t.Errorf("no single register behaves like that (%s): see %s, kept by go test -artifacts", result, file)
	}
	t.Logf("%d operations, %d writes acknowledged, %d with unknown outcome", len(h.operations), len(h.acknowledged), h.unknown)
	list, err := s.client().CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{LabelSelector: "faults"})
	if err != nil {
		t.Fatal(err)
	}
	seen.check(t, h.acknowledged, list)
}

// history collects what clients did.
type history struct {
	begin time.Time
	acks  atomic.Int64

	mu           sync.Mutex
	operations   []porcupine.Operation
	acknowledged map[string]string // resourceVersion -> value, of creates and swaps
	unknown      int
}

func (h *history) wait(ctx context.Context, n int64) {
	for h.acks.Load() < n && ctx.Err() == nil {
		time.Sleep(2 * time.Millisecond)
	}
}

// use works on the registers until it is told to stop.
func (h *history) use(ctx context.Context, stop <-chan struct{}, client kubernetes.Interface, id int) {
	known := map[string]*corev1.ConfigMap{}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		default:
		}
		in := input{name: register + strconv.Itoa(rand.IntN(names)), value: fmt.Sprintf("%d-%d", id, i)}
		start := time.Since(h.begin)
		out := perform(ctx, client, &in, known)
		end := time.Since(h.begin)
		switch {
		case out.never || out.unknown && in.verb == "get":
			time.Sleep(5 * time.Millisecond) // until it is back
			continue
		case out.unknown:
			end = math.MaxInt64 // it may still take effect at any time
		}
		h.note(porcupine.Operation{ClientId: id, Input: in, Call: int64(start), Output: out, Return: int64(end)}, known[in.name])
	}
}

func (h *history) note(o porcupine.Operation, written *corev1.ConfigMap) {
	in, out := o.Input.(input), o.Output.(output)
	h.mu.Lock()
	defer h.mu.Unlock()
	if out.unknown { // one client can do one thing at a time, and this one may never end
		h.unknown++
		o.ClientId = clients + h.unknown
	}
	h.operations = append(h.operations, o)
	if out.done && (in.verb == "create" || in.verb == "swap") {
		h.acknowledged[written.ResourceVersion] = in.value
		h.acks.Add(1)
	}
}

// perform does one operation, chosen by what the client last saw there.
func perform(ctx context.Context, client kubernetes.Interface, in *input, known map[string]*corev1.ConfigMap) output {
	maps := client.CoreV1().ConfigMaps("default")
	last := known[in.name]
	var got *corev1.ConfigMap
	var err error
	switch n := rand.IntN(10); {
	case n < 3:
		in.verb = "get"
		got, err = maps.Get(ctx, in.name, metav1.GetOptions{})
	case last == nil:
		in.verb = "create"
		got, err = maps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: in.name, Labels: map[string]string{"faults": ""}},
			Data:       map[string]string{"value": in.value},
		}, metav1.CreateOptions{})
	case n < 5:
		in.verb, in.old = "delete", last.Data["value"]
		err = maps.Delete(ctx, in.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &last.ResourceVersion}})
	default:
		in.verb, in.old = "swap", last.Data["value"]
		next := last.DeepCopy()
		next.Data["value"] = in.value
		got, err = maps.Update(ctx, next, metav1.UpdateOptions{})
	}
	if err == nil {
		known[in.name] = got // nil after a delete
		return output{done: true, value: valueOf(got)}
	}
	delete(known, in.name)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return output{never: true}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code >= 500 {
		return output{unknown: true}
	}
	if in.verb != "get" { // find out what is there, so that the next attempt has a chance
		if now, err := maps.Get(ctx, in.name, metav1.GetOptions{}); err == nil {
			known[in.name] = now
		}
	}
	return output{}
}

func valueOf(c *corev1.ConfigMap) string {
	if c == nil {
		return ""
	}
	return c.Data["value"]
}

// events is what a watch saw.
type events struct {
	mu  sync.Mutex
	all []watch.Event
}

// follow watches as client-go's controllers do: after each break it resumes from the
// last version it saw.
func follow(ctx context.Context, t *testing.T, client kubernetes.Interface) *events {
	t.Helper()
	maps := client.CoreV1().ConfigMaps("default")
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = "faults"
			return maps.Watch(ctx, o)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	e := &events{}
	go func() {
		for event := range w.ResultChan() {
			e.mu.Lock()
			e.all = append(e.all, event)
			e.mu.Unlock()
		}
	}()
	t.Cleanup(w.Stop)
	return e
}

// check compares what the watch saw with what was acknowledged and with what is there.
func (e *events) check(t *testing.T, acknowledged map[string]string, list *corev1.ConfigMapList) {
	t.Helper()
	e.settle(t, list)
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := map[string]string{}
	present := map[string]string{}
	before := uint64(0)
	for _, event := range e.all {
		c, ok := event.Object.(*corev1.ConfigMap)
		if !ok {
			t.Fatalf("the watch ended with %+v", event)
		}
		version, err := strconv.ParseUint(c.ResourceVersion, 10, 64)
		if err != nil || version <= before {
			t.Fatalf("version %s came after %d", c.ResourceVersion, before)
		}
		before = version
		seen[c.ResourceVersion] = c.Data["value"]
		was, there := present[c.Name]
		switch event.Type {
		case watch.Added:
			if there {
				t.Errorf("%s was added at %s though it was there", c.Name, c.ResourceVersion)
			}
			present[c.Name] = c.Data["value"]
		case watch.Modified:
			if !there {
				t.Errorf("%s was modified at %s though it wasn't there", c.Name, c.ResourceVersion)
			}
			present[c.Name] = c.Data["value"]
		case watch.Deleted:
			if was != c.Data["value"] {
				t.Errorf("%s was deleted at %s as %q and was %q", c.Name, c.ResourceVersion, c.Data["value"], was)
			}
			delete(present, c.Name)
		}
	}
	for version, value := range acknowledged {
		if seen[version] != value {
			t.Errorf("a client was told that it wrote %s at %s; the watch saw %q then", value, version, seen[version])
		}
	}
	for _, c := range list.Items {
		if present[c.Name] != c.Data["value"] {
			t.Errorf("%s is %s; the watch left it at %q", c.Name, c.Data["value"], present[c.Name])
		}
		delete(present, c.Name)
	}
	if len(present) > 0 {
		t.Errorf("the watch did not see these go: %v", present)
	}
}

// settle waits until the watch has seen what the list was made from, or can't any more.
func (e *events) settle(t *testing.T, list *corev1.ConfigMapList) {
	t.Helper()
	var want uint64
	for _, c := range list.Items {
		version, _ := strconv.ParseUint(c.ResourceVersion, 10, 64)
		want = max(want, version)
	}
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		e.mu.Lock()
		late := slices.ContainsFunc(e.all, func(event watch.Event) bool {
			c, ok := event.Object.(*corev1.ConfigMap)
			if !ok {
				return true
			}
			version, _ := strconv.ParseUint(c.ResourceVersion, 10, 64)
			return version >= want
		})
		e.mu.Unlock()
		if late {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// roundTrip writes, reads and deletes something.
func roundTrip(ctx context.Context, client kubernetes.Interface) error {
	maps := client.CoreV1().ConfigMaps("default")
	made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "alive-"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err := maps.Get(ctx, made.Name, metav1.GetOptions{}); err != nil {
		return err
	}
	return maps.Delete(ctx, made.Name, metav1.DeleteOptions{})
}
