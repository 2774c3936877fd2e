package iptables

import "bytes"

// batcher packs ops into inputs of iptables-restore of at most limit lines, and hands
// each to run. One op is never split; see differ.chain for those that would be too big.
//
// Bounded batches are a matter of speed and of privilege alike. iptables-nft takes time
// quadratic in the size of a transaction, and in a user namespace it fails with EMSGSIZE
// beyond the socket's send buffer, which only real root may enlarge.
type batcher struct {
	limit int
	run   func(input []byte) error

	buf   bytes.Buffer
	table Table // of the open section, or ""
	lines int   // in buf
	total int   // in all batches
}

func (b *batcher) add(o op) error {
	if b.lines > 0 && b.lines+o.lines > b.limit {
		if err := b.flush(); err != nil {
			return err
		}
	}
	if b.table != o.table {
		b.close()
		b.table = o.table
		b.buf.WriteString("*" + string(o.table) + "\n")
	}
	b.buf.WriteString(o.text)
	b.lines += o.lines
	b.total += o.lines
	return nil
}

// close ends the open section. The kernel takes each section as one transaction.
func (b *batcher) close() {
	if b.table != "" {
		b.buf.WriteString("COMMIT\n")
		b.table = ""
	}
}

func (b *batcher) flush() error {
	b.close()
	if b.lines == 0 {
		return nil
	}
	err := b.run(b.buf.Bytes())
	b.buf.Reset()
	b.lines = 0
	return err
}
