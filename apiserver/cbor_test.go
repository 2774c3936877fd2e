package apiserver

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/types"
)

// TestCBOR writes and reads in CBOR and compares with what JSON says.
func TestCBOR(t *testing.T) {
	c := start(t)
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	codec := cbor.NewSerializer(known, known)
	encode := func(o runtime.Object) string {
		var out bytes.Buffer
		if err := codec.Encode(o, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	decode := func(body string) runtime.Object {
		t.Helper()
		o, _, err := codec.Decode([]byte(body), nil, nil)
		if err != nil {
			t.Fatalf("%v: %x", err, body)
		}
		return o
	}
	client := c.http()
	const asCBOR, fromCBOR = "Accept: application/cbor", "Content-Type: application/cbor"
	sent := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "ö"}, BinaryData: map[string][]byte{"b": {0, 255}},
	}
	code, header, body := c.call(client, "POST", configMaps, encode(sent), fromCBOR, asCBOR)
	if code != 201 || header.Get("Content-Type") != "application/cbor" {
		t.Fatal(code, header, body)
	}
	got := decode(body).(*corev1.ConfigMap)
	if got.UID == "" || got.Data["k"] != "ö" || !bytes.Equal(got.BinaryData["b"], []byte{0, 255}) {
		t.Errorf("created %v", got)
	}
	same, err := c.client().CoreV1().ConfigMaps("default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || same.UID != got.UID || same.CreationTimestamp != got.CreationTimestamp {
		t.Errorf("%v, in CBOR %v", same, got)
	}
	for range 30 { // more than fit into a one-byte head
		if _, err := c.client().CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "more-"},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, _, body = c.call(client, "GET", configMaps, "", asCBOR)
	if list := decode(body).(*corev1.ConfigMapList); len(list.Items) != 31 || list.ResourceVersion == "" || list.Items[0].Data["k"] != "ö" {
		t.Errorf("listed %d: %v", len(list.Items), list)
	}
	_, _, body = c.call(client, "GET", configMaps, "", asCBOR+";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	if list := decode(body).(*metav1.PartialObjectMetadataList); len(list.Items) != 31 || list.Items[0].Kind != "PartialObjectMetadata" {
		t.Errorf("listed %d: %v", len(list.Items), list)
	}
	code, _, body = c.call(client, "GET", configMaps+"/none", "", asCBOR)
	if s := decode(body).(*metav1.Status); code != 404 || s.Reason != metav1.StatusReasonNotFound {
		t.Errorf("%d %v", code, s)
	}
	code, _, body = c.call(client, "POST", configMaps+"?fieldValidation=Strict", "\xd9\xd9\xf7\xa1Ckind", fromCBOR)
	if code != 400 {
		t.Errorf("truncated: %d %s", code, body)
	}

	patch, err := direct.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": map[string]any{"c": "d"},
	})
	if err != nil {
		t.Fatal(err)
	}
	code, _, body = c.call(client, "PATCH", configMaps+"/a?fieldManager=m", string(patch), "Content-Type: "+string(types.ApplyCBORPatchType), asCBOR)
	if got := decode(body).(*corev1.ConfigMap); code != 200 || got.Data["c"] != "d" || got.Data["k"] != "ö" {
		t.Errorf("applied: %d %v", code, got)
	}
	c.watchCBOR(codec)
}

// watchCBOR reads the initial events of a watch: a sequence of maps.
func (c *cluster) watchCBOR(codec cbor.Serializer) {
	t := c.t
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", c.url+configMaps+"?watch=1&fieldSelector=metadata.name%3Da", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/cbor")
	response, err := c.http().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if got := response.Header.Get("Content-Type"); got != "application/cbor-seq" {
		t.Errorf("a watch in %s", got)
	}
	frames := cbor.NewFramer().NewFrameReader(response.Body)
	frame := make([]byte, 64<<10)
	n, err := frames.Read(frame)
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	var event metav1.WatchEvent
	if err := direct.Unmarshal(frame[:n], &event); err != nil {
		t.Fatalf("%v: %x", err, frame[:n])
	}
	o, _, err := codec.Decode(event.Object.Raw, nil, nil)
	if err != nil {
		t.Fatalf("%v: %x", err, event.Object.Raw)
	}
	if cm := o.(*corev1.ConfigMap); event.Type != "ADDED" || cm.Data["c"] != "d" {
		t.Errorf("%s %v", event.Type, cm)
	}
}

// FuzzCBORHead: what we write is a head that CBOR libraries read.
func FuzzCBORHead(f *testing.F) {
	for _, n := range []uint16{0, 23, 24, 255, 256, 65535} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n uint16) {
		data := append(cborHeadOf(cborArray, int(n)), make([]byte, n)...) // that many zeros
		var list []int
		if err := direct.Unmarshal(data, &list); err != nil || len(list) != int(n) {
			t.Errorf("%d: %d, %v", n, len(list), err)
		}
	})
}
