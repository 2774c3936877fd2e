package apiserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// next is the watch's next event that isn't a bookmark.
func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				t.Fatal("the watch has ended")
			}
			if e.Type != watch.Bookmark {
				return e
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no event")
		}
	}
}

func expectEvent(t *testing.T, w watch.Interface, kind watch.EventType, name string) *corev1.ConfigMap {
	t.Helper()
	e := next(t, w)
	object, ok := e.Object.(*corev1.ConfigMap)
	if !ok || e.Type != kind || object.Name != name {
		t.Fatalf("got %s %v, want %s %s", e.Type, e.Object, kind, name)
	}
	return object
}

func TestWatch(t *testing.T) {
	c := start(t)
	for name, client := range map[string]*kubernetes.Clientset{"json": c.client(), "protobuf": c.protobuf()} {
		t.Run(name, func(t *testing.T) {
			ctx, maps := t.Context(), client.CoreV1().ConfigMaps("default")
			list, err := maps.List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, LabelSelector: "app=test"})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			if _, err := maps.Create(ctx, configMap(name, nil), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			first := expectEvent(t, w, watch.Added, name)
			label := func(value string) {
				t.Helper()
				if _, err := maps.Patch(ctx, name, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"app":%q}}}`, value), metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			label("other")
			if gone := expectEvent(t, w, watch.Deleted, name); gone.Labels["app"] != "test" || gone.ResourceVersion == first.ResourceVersion {
				t.Errorf("left the selection as %v", gone.ObjectMeta)
			}
			label("test")
			expectEvent(t, w, watch.Added, name)
			if _, err := maps.Patch(ctx, name, types.MergePatchType, []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			expectEvent(t, w, watch.Modified, name)
			if err := maps.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			expectEvent(t, w, watch.Deleted, name)

			// A second watch from the first event's revision sees the rest, in order.
			again, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion, FieldSelector: "metadata.name=" + name})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Stop()
			for _, kind := range []watch.EventType{watch.Modified, watch.Modified, watch.Modified, watch.Deleted} {
				expectEvent(t, again, kind, name)
			}
		})
	}
}

// TestWatchAcrossRestart: a client that lost its server resumes where it was.
func TestWatchAcrossRestart(t *testing.T) {
	c := start(t)
	ctx, maps := t.Context(), c.client().CoreV1().ConfigMaps("default")
	made, err := maps.Create(ctx, configMap("a", nil), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	c.stop() // ends the watch, or this would not return
	if _, open := <-w.ResultChan(); open {
		t.Error("the watch outlived the server")
	}
	c.boot()
	maps = c.client().CoreV1().ConfigMaps("default")
	if _, err := maps.Create(ctx, configMap("b", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	resumed, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer resumed.Stop()
	e := next(t, resumed)
	if status, ok := e.Object.(*metav1.Status); ok { // the history before the restart may be gone: then it must say so
		if e.Type != watch.Error || status.Code != http.StatusGone {
			t.Errorf("%s %v", e.Type, e.Object)
		}
		return
	}
	if e.Type != watch.Added || e.Object.(*corev1.ConfigMap).Name != "b" {
		t.Errorf("%s %v", e.Type, e.Object)
	}
}

func TestInitialEvents(t *testing.T) {
	c := start(t)
	ctx, maps := t.Context(), c.client().CoreV1().ConfigMaps("default")
	for _, name := range []string{"a", "b"} {
		if _, err := maps.Create(ctx, configMap(name, nil), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := maps.Watch(ctx, metav1.ListOptions{
		SendInitialEvents: new(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	expectEvent(t, w, watch.Added, "a")
	expectEvent(t, w, watch.Added, "b")
	mark := <-w.ResultChan()
	object, _ := mark.Object.(*corev1.ConfigMap)
	if mark.Type != watch.Bookmark || object.Annotations[metav1.InitialEventsAnnotationKey] != "true" || object.ResourceVersion == "" {
		t.Errorf("the initial events end with %s %v", mark.Type, mark.Object)
	}

	for _, version := range []string{"", "0"} {
		plain, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Stop()
		expectEvent(t, plain, watch.Added, "a")
		expectEvent(t, plain, watch.Added, "b")
	}

	declined, err := maps.Watch(ctx, metav1.ListOptions{SendInitialEvents: new(false), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	if err != nil {
		t.Fatal(err)
	}
	defer declined.Stop()
	if _, err := maps.Create(ctx, configMap("c", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expectEvent(t, declined, watch.Added, "c")
}

// TestInformers: client-go's informers sync and follow, typed and dynamic.
func TestInformers(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	typed := informers.NewSharedInformerFactoryWithOptions(c.client(), 0, informers.WithNamespace("default"))
	var seen atomic.Int32
	informer := typed.Core().V1().ConfigMaps().Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { seen.Add(1) },
		DeleteFunc: func(any) { seen.Add(-1) },
	}); err != nil {
		t.Fatal(err)
	}
	untyped := dynamicinformer.NewDynamicSharedInformerFactory(c.dynamic(), 0)
	services := untyped.ForResource(corev1.SchemeGroupVersion.WithResource("services")).Informer()
	typed.Start(ctx.Done())
	untyped.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced, services.HasSynced) {
		t.Fatal("not synced")
	}
	if got, ok, _ := services.GetStore().GetByKey("default/kubernetes"); !ok || got.(*unstructured.Unstructured).GetKind() != "Service" {
		t.Errorf("%v", got)
	}
	maps := c.client().CoreV1().ConfigMaps("default")
	for i := range 10 {
		if _, err := maps.Create(ctx, configMap(fmt.Sprintf("m%d", i), nil), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "informer", func() error { return expect("objects seen", seen.Load(), int32(10)) })
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "informer", func() error { return expect("objects seen", seen.Load(), int32(0)) })
	cancel()
	typed.Shutdown()
	untyped.Shutdown()
}

// stream opens a watch without client-go and returns its lines.
func (c *cluster) stream(path, accept string) (*bufio.Scanner, func()) {
	c.t.Helper()
	req, err := http.NewRequest("GET", c.url+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := c.http().Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		c.t.Fatal(resp.Status)
	}
	return bufio.NewScanner(resp.Body), func() { _ = resp.Body.Close() }
}

func TestTableWatch(t *testing.T) {
	c := start(t)
	lines, stop := c.stream("/api/v1/namespaces?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
		"application/json;as=Table;v=v1;g=meta.k8s.io")
	defer stop()
	heads, events := 0, []string{}
	for lines.Scan() { // ends by timeoutSeconds
		var e struct {
			Type   string
			Object metav1.Table
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Object.Kind != "Table" || len(e.Object.Rows) != 1 {
			t.Fatalf("%s", lines.Text())
		}
		if len(e.Object.ColumnDefinitions) > 0 {
			heads++
		}
		events = append(events, e.Type)
		if e.Type == "BOOKMARK" && !strings.Contains(string(e.Object.Rows[0].Object.Raw), metav1.InitialEventsAnnotationKey) {
			t.Errorf("%s", e.Object.Rows[0].Object.Raw)
		}
	}
	if got := strings.Join(events, " "); heads != 1 || got != "ADDED ADDED ADDED ADDED BOOKMARK" {
		t.Errorf("%d heads, events %s", heads, got)
	}
}

// TestTooOld: a revision whose history is gone is a 410 in the stream.
func TestTooOld(t *testing.T) {
	forgetful := func(c *Config) { c.Etcd.CompactionInterval = 10 * time.Millisecond }
	c := start(t, forgetful)
	maps := c.client().CoreV1().ConfigMaps("default")
	if _, err := maps.Create(t.Context(), configMap("a", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a watch from revision 1", func() error {
		c.stop()
		c.boot(forgetful) // what the server remembers goes, what etcd remembers is compacted
		w, err := c.client().CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
		if err != nil {
			return err
		}
		defer w.Stop()
		e := next(t, w)
		status, ok := e.Object.(*metav1.Status)
		if !ok || e.Type != watch.Error {
			return fmt.Errorf("an event %s", e.Type)
		}
		return expect("status", fmt.Sprint(status.Code, " ", status.Reason), "410 Expired")
	})
}

// TestLegacyWatch: who doesn't say from where begins with what is there, and, if he takes
// bookmarks, is told when that is all.
func TestLegacyWatch(t *testing.T) {
	c := start(t)
	if _, err := c.client().CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"", "0"} {
		w, err := c.client().CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: from, AllowWatchBookmarks: true})
		if err != nil {
			t.Fatal(err)
		}
		added, end := <-w.ResultChan(), <-w.ResultChan()
		w.Stop()
		if added.Type != watch.Added || end.Type != watch.Bookmark || end.Object.(*corev1.ConfigMap).Annotations[metav1.InitialEventsAnnotationKey] != "true" {
			t.Errorf("from %q: %v, %v", from, added, end)
		}
	}
	for path, code := range map[string]int{"/a?resourceVersion=x": 500, "/a?resourceVersion=0": 200, "/a?resourceVersion=1": 200, "/a?resourceVersion=100000000": 504, "?watch=1&resourceVersion=x": 500} {
		if got, _, body := c.call(c.http(), "GET", configMaps+path, ""); got != code {
			t.Errorf("%s: %d %s", path, got, body)
		}
	}
}
