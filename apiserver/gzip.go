package apiserver

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"orrery.example.org/apiserver/store"
)

// Compressing a long list takes several times as long as all else one does to send it,
// and most of a list is what it was the last time. So a list is compressed in runs of
// some dozen items, and each run is kept in compressed form with its first item:
//
//	gzip's head | "{…items:[" stored | run | "," stored | run | … | "]}" stored | checksum
//
// A run ends where its items say so, not after a number of them: whether an item was
// added before it, or the list begins elsewhere, it is the same run. It is a deflate
// stream of its own, flushed to a whole byte; deflate allows such to follow each other.
//
// Kubernetes: upstream compresses every answer anew.
type run struct {
	from, to int // of the answer's pieces
	items    []*store.Version
	form     *form
}

// runLength is how many items a run has on average.
const runLength = 32

// runs finds the runs in the pieces of a list. What is not in one is small.
func (f *form) runs(pieces [][]byte, items []*store.Version) []run {
	var found []run
	next := 0
	for i, p := range pieces {
		if next == len(items) {
			break
		}
		item, err := f.item(items[next])
		if err != nil || !isEnd(p, item) {
			continue // a comma, a length
		}
		if len(found) == 0 || begins(items[next]) {
			found = append(found, run{from: i, form: f})
		}
		last := &found[len(found)-1]
		last.to, last.items = i+1, append(last.items, items[next])
		next++
	}
	return found
}

// isEnd says whether p is the end of item, or all of it: the very bytes, not equal ones.
func isEnd(p, item []byte) bool {
	return len(p) > 0 && len(item) > 0 && &p[len(p)-1] == &item[len(item)-1]
}

// begins says whether a run begins with the item: about one in runLength does.
func begins(v *store.Version) bool {
	name, hash := v.Object.GetName(), uint32(2166136261) // FNV-1a
	for i := range len(name) {
		hash = (hash ^ uint32(name[i])) * 16777619
	}
	return hash%runLength == 0
}

// compressed is a run as its first item keeps it.
type compressed struct {
	revisions []int64 // of its items. One revision is one version of one object
	deflated  []byte
}

// deflated is the run's compressed form.
func (r *run) deflated(pieces [][]byte) []byte {
	revisions := make([]int64, len(r.items))
	for i, v := range r.items {
		revisions[i] = v.Revision
	}
	place := r.items[0].Place(r.form.key)
	if kept, ok := place.Load().(*compressed); ok && slices.Equal(kept.revisions, revisions) {
		return kept.deflated
	}
	made := &compressed{revisions, deflate(pieces)}
	place.Store(made)
	return made.deflated
}

var deflaters = sync.Pool{New: func() any {
	z, _ := flate.NewWriter(nil, flate.BestSpeed)
	return z
}}

// deflate compresses pieces to a whole number of bytes that others may follow.
func deflate(pieces [][]byte) []byte {
	var out bytes.Buffer
	z := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(z)
	z.Reset(&out)
	for _, p := range pieces {
		_, _ = z.Write(p)
	}
	_ = z.Flush()
	return bytes.Clone(out.Bytes())
}

// gzipHead says deflate, no name, no time, fastest compression, any system.
var gzipHead = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}

// writeGzip writes the pieces compressed.
func writeGzip(w io.Writer, pieces [][]byte, runs []run) error {
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.Write(gzipHead) // an error stays in out
	at := 0
	for _, r := range runs {
		writePlain(out, pieces[at:r.from])
		_, _ = out.Write(r.deflated(pieces[r.from:r.to]))
		at = r.to
	}
	writePlain(out, pieces[at:])
	_, _ = out.Write([]byte{1, 0, 0, 0xff, 0xff}) // the last block: stored, and empty
	var sum, size uint32
	for _, p := range pieces {
		sum = crc32.Update(sum, crc32.IEEETable, p)
		size += uint32(len(p))
	}
	end := binary.LittleEndian.AppendUint32(nil, sum)
	_, _ = out.Write(binary.LittleEndian.AppendUint32(end, size))
	return out.Flush()
}

// storedMost is how much is written as it is.
const storedMost = 1 << 10

// writePlain writes pieces that are in no run: a few bytes as they are, else compressed.
func writePlain(out *bufio.Writer, pieces [][]byte) {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	switch {
	case size == 0:
		return
	case size > storedMost:
		_, _ = out.Write(deflate(pieces))
		return
	}
	block := binary.LittleEndian.AppendUint16([]byte{0}, uint16(size))
	_, _ = out.Write(binary.LittleEndian.AppendUint16(block, ^uint16(size)))
	for _, p := range pieces {
		_, _ = out.Write(p)
	}
}
