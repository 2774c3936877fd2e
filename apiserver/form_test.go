package apiserver

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/store"
)

// upstream encodes with apimachinery's serializers, typed objects and all at once: what
// the server writes piece by piece must be the same bytes.
func upstream(t *testing.T, m media, o runtime.Object, gvk schema.GroupVersionKind) []byte {
	t.Helper()
	o = o.DeepCopyObject()
	o.GetObjectKind().SetGroupVersionKind(gvk)
	var encoder runtime.Encoder = json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{Yaml: m == yamlMedia})
	if m == protobufMedia {
		encoder = protobuf.NewSerializer(nil, nil)
	}
	var out bytes.Buffer
	if err := encoder.Encode(o, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func testPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", ResourceVersion: "7", Labels: map[string]string{"a": "<b>&"}},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

func versions(objects ...api.Object) []*store.Version {
	var all []*store.Version
	for _, o := range objects {
		all = append(all, &store.Version{Object: o})
	}
	return all
}

func TestFormsAreUpstreams(t *testing.T) {
	podVersion := api.ByResource("", "pods").Storage()
	a, b := testPod("a"), testPod("b")
	meta := metav1.ListMeta{ResourceVersion: "9", Continue: "c", RemainingItemCount: new(int64(3))}
	for _, m := range []media{jsonMedia, yamlMedia, protobufMedia} {
		t.Run(m.String(), func(t *testing.T) {
			f := whole(podVersion, m)
			items := versions(a, b)

			item, err := f.item(items[0])
			if err != nil {
				t.Fatal(err)
			}
			same(t, f, "object", f.single(item), upstream(t, m, a, podVersion.GroupVersionKind))

			list, err := f.list(items, meta)
			if err != nil {
				t.Fatal(err)
			}
			same(t, f, "list", list, upstream(t, m, &corev1.PodList{ListMeta: meta, Items: []corev1.Pod{*a, *b}}, f.listGVK))

			empty, err := f.list(nil, metav1.ListMeta{ResourceVersion: "9"})
			if err != nil {
				t.Fatal(err)
			}
			same(t, f, "empty list", empty, upstream(t, m, &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "9"}, Items: []corev1.Pod{}}, f.listGVK))
		})
	}
}

func same(t *testing.T, f *form, what string, pieces [][]byte, want []byte) {
	t.Helper()
	got, err := f.finish(pieces)
	if err != nil {
		t.Fatal(err)
	}
	if f.media == jsonMedia {
		got = append(got, newline...) // which write adds
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

func TestMetadataForm(t *testing.T) {
	podVersion := api.ByResource("", "pods").Storage()
	a := testPod("a")
	for _, m := range []media{jsonMedia, protobufMedia} {
		f := metadataOnly(podVersion, metav1.SchemeGroupVersion, m)
		list, err := f.list(versions(a), metav1.ListMeta{ResourceVersion: "9"})
		if err != nil {
			t.Fatal(err)
		}
		item := metav1.PartialObjectMetadata{ObjectMeta: a.ObjectMeta}
		if m == jsonMedia { // protobuf has no room for an item's type
			item.TypeMeta = metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}
		}
		want := upstream(t, m, &metav1.PartialObjectMetadataList{
			ListMeta: metav1.ListMeta{ResourceVersion: "9"}, Items: []metav1.PartialObjectMetadata{item},
		}, f.listGVK)
		same(t, f, m.String(), list, want)
	}
}

// TestForeignVersion shows a core Event as one of events.k8s.io.
func TestForeignVersion(t *testing.T) {
	k := api.ByResource("", "events")
	v := k.Version(eventsv1.SchemeGroupVersion)
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "default"}, Message: "hello", Reason: "R"}
	f := whole(v, jsonMedia)
	item, err := f.item(versions(event)[0])
	if err != nil {
		t.Fatal(err)
	}
	want := upstream(t, jsonMedia, &eventsv1.Event{ObjectMeta: event.ObjectMeta, Note: "hello", Reason: "R"}, v.GroupVersionKind)
	same(t, f, "event", f.single(item), want)
}

func TestEncodedOnce(t *testing.T) {
	v := versions(testPod("a"))[0]
	podVersion := api.ByResource("", "pods").Storage()
	first, err := whole(podVersion, jsonMedia).item(v)
	if err != nil {
		t.Fatal(err)
	}
	again, err := whole(podVersion, yamlMedia).item(v) // YAML is made of the JSON
	if err != nil {
		t.Fatal(err)
	}
	if &first[0] != &again[0] {
		t.Error("the object was serialized twice")
	}
}

func TestWatchFrames(t *testing.T) {
	pod := testPod("a")
	podVersion := api.ByResource("", "pods").Storage()
	for _, m := range []media{jsonMedia, protobufMedia} {
		raw := bytes.TrimSuffix(upstream(t, m, pod, podVersion.GroupVersionKind), newline)
		event := &metav1.WatchEvent{Type: string(watch.Added), Object: runtime.RawExtension{Raw: raw}}
		var want []byte
		if m == jsonMedia {
			var out bytes.Buffer
			if err := json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{}).Encode(event, &out); err != nil {
				t.Fatal(err)
			}
			want = out.Bytes()
		} else {
			var out bytes.Buffer
			w := protobuf.LengthDelimitedFramer.NewFrameWriter(&out)
			if err := protobuf.NewRawSerializer(nil, nil).Encode(event, w); err != nil {
				t.Fatal(err)
			}
			want = out.Bytes()
		}
		rec := newFlushRecorder()
		c := &call{resource: &resource{kind: api.ByResource("", "pods"), version: podVersion}, view: view{body: podVersion}, w: rec}
		s, err := c.newStream(accept{media: m})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.event(watch.Added, versions(pod)[0]); err != nil {
			t.Fatal(err)
		}
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, rec.Body.Bytes()); diff != "" {
			t.Errorf("%s: %s", m, diff)
		}
	}
}
