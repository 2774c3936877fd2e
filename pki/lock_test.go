package pki

import (
	"bytes"
	"sync"
	"testing"
)

// TestFirstStarts: of several that begin at once, one makes the CA, and all have that.
func TestFirstStarts(t *testing.T) {
	dir := t.TempDir()
	var cas [8][]byte
	var wg sync.WaitGroup
	for i := range cas {
		wg.Go(func() {
			unlock, err := Lock(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			ca, err := LoadOrCreateCA(dir, "ca")
			if err != nil {
				t.Error(err)
				return
			}
			cas[i] = ca.PEM
		})
	}
	wg.Wait()
	for _, ca := range cas {
		if !bytes.Equal(ca, cas[0]) {
			t.Error("two CAs")
		}
	}
}
