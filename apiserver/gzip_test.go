package apiserver

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/store"
)

func gunzip(t testing.TB, pieces [][]byte, runs []run) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := writeGzip(&out, pieces, runs); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(z) // which checks length and checksum
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func mapVersions(n int) []*store.Version {
	items := make([]*store.Version, n)
	for i := range items {
		items[i] = mapVersion(i, int64(i+1))
	}
	return items
}

func mapVersion(i int, revision int64) *store.Version {
	o := &corev1.ConfigMap{Data: map[string]string{"a": strings.Repeat(fmt.Sprint(revision), 100)}}
	o.Name, o.Namespace, o.ResourceVersion = fmt.Sprintf("m%04d", i), "default", fmt.Sprint(revision)
	return &store.Version{Object: o, Revision: revision}
}

// TestRuns: a list that is compressed in runs is the same list, whatever part of it and
// in whatever form, and only runs of which an item changed are compressed again.
func TestRuns(t *testing.T) {
	kind := api.ByResource("", "configmaps").Storage()
	items := mapVersions(500)
	changed := append([]*store.Version(nil), items...)
	changed[100] = mapVersion(100, 1000)
	fewer := append(append([]*store.Version(nil), items[:300]...), items[301:]...)
	for name, f := range map[string]*form{
		"json": whole(kind, jsonMedia), "protobuf": whole(kind, protobufMedia), "cbor": whole(kind, cborMedia),
		"metadata": metadataOnly(kind, metav1.SchemeGroupVersion, jsonMedia),
	} {
		kept := map[*byte]bool{}
		for _, test := range []struct {
			what  string
			items []*store.Version
			fresh int // runs that were not kept
		}{
			{"none", nil, 0},
			{"all", items, -1},
			{"all again", items, 0},
			{"one changed", changed, 1},
			{"as before", items, 1}, // only the last is kept
			{"one gone", fewer, 1},
			{"a part", items[7:450], 3}, // the first and the last run are cut, and the gone one is back
		} {
			pieces, err := f.list(test.items, metav1.ListMeta{ResourceVersion: "1000"})
			if err != nil {
				t.Fatal(err)
			}
			runs := f.runs(pieces, test.items)
			if got, want := gunzip(t, pieces, runs), bytes.Join(pieces, nil); !bytes.Equal(got, want) {
				t.Errorf("%s: %s: %d bytes instead of %d, or other ones", name, test.what, len(got), len(want))
			}
			inRuns, fresh := 0, 0
			for _, r := range runs {
				inRuns += len(r.items)
				if b := &r.deflated(pieces[r.from:r.to])[0]; !kept[b] {
					kept[b] = true
					fresh++
				}
			}
			if inRuns != len(test.items) {
				t.Errorf("%s: %s: %d items are in runs, not %d", name, test.what, inRuns, len(test.items))
			}
			if test.fresh >= 0 && fresh != test.fresh {
				t.Errorf("%s: %s: %d runs of %d were compressed, not %d", name, test.what, fresh, len(runs), test.fresh)
			}
		}
	}
}

// FuzzGzip: whatever the pieces are, they arrive.
func FuzzGzip(f *testing.F) {
	f.Add([]byte("a,b,c"), []byte(","))
	f.Add(bytes.Repeat([]byte("abc,"), 70000), []byte(","))
	f.Add([]byte{}, []byte{0})
	f.Fuzz(func(t *testing.T, body, separator []byte) {
		pieces := bytes.SplitAfter(body, separator)
		if got := gunzip(t, pieces, nil); !bytes.Equal(got, body) {
			t.Errorf("%d bytes became %d", len(body), len(got))
		}
	})
}

// BenchmarkList writes a list of 2,000 objects down, as it is and compressed: for the
// first time, and with one object changed.
func BenchmarkList(b *testing.B) {
	f := whole(api.ByResource("", "configmaps").Storage(), jsonMedia)
	items := mapVersions(2000)
	write := func(b *testing.B, items []*store.Version, zip bool) {
		pieces, err := f.list(items, metav1.ListMeta{ResourceVersion: "1"})
		if err != nil {
			b.Fatal(err)
		}
		if zip {
			_ = writeGzip(io.Discard, pieces, f.runs(pieces, items))
		}
	}
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			write(b, items, false)
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			fresh := mapVersions(2000)
			write(b, fresh, false)
			b.StartTimer()
			write(b, fresh, true)
		}
	})
	b.Run("changed", func(b *testing.B) {
		write(b, items, true)
		for i := 0; b.Loop(); i++ {
			items[i%2000] = mapVersion(i%2000, int64(3000+i))
			write(b, items, true)
		}
	})
}
