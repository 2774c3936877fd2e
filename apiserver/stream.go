package apiserver

import (
	"bufio"
	"encoding/binary"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/store"
)

// stream writes watch events: in JSON one object per line, in protobuf a message
// behind its length in four bytes. The objects in them are the bytes that gets and
// lists use (form.go).
type stream struct {
	media  media
	form   *form
	rows   *rows // not nil: the client wants tables
	as     schema.GroupVersionKind
	kind   *api.Version
	headed bool // the table's head has been sent
	w      http.ResponseWriter
	socket *socket // nil: the answer's body
	buf    *bufio.Writer
	held   bool // something was written since the last flush
	sent   prometheus.Counter
	err    error // of the connection; what is written after it goes nowhere
}

func (c *call) newStream(a accept) (*stream, error) {
	s := &stream{media: a.media, as: a.as, kind: c.kind.Storage(), w: c.w, buf: bufio.NewWriterSize(c.w, 8<<10)}
	if a.table() {
		var err error
		s.rows, err = c.newRows(a)
		return s, err
	}
	s.form = c.form(a)
	return s, nil
}

// contentType says that it is a stream, where the form of an event has a name of its own.
func (s *stream) contentType() string {
	switch s.media {
	case protobufMedia:
		return s.media.String() + ";stream=watch"
	case cborMedia:
		return s.media.String() + "-seq"
	}
	return s.media.String()
}

// start sends the headers, so that the client knows it is being served.
func (s *stream) start() {
	s.w.Header().Set("Content-Type", s.contentType())
	s.w.WriteHeader(http.StatusOK)
	s.held = true
	_ = s.flush()
}

// event writes one change.
func (s *stream) event(kind watch.EventType, v *store.Version) error {
	if s.rows != nil {
		t, err := s.rows.event(v, !s.headed)
		if err != nil {
			return err
		}
		s.headed = true
		body, err := object(t, s.as, s.media)
		s.write(kind, [][]byte{body})
		return err
	}
	item, err := s.form.item(v)
	if err != nil {
		return err
	}
	s.write(kind, s.form.single(item))
	return nil
}

// bookmark writes how far the client has got.
func (s *stream) bookmark(revision int64, initialEnd bool) error {
	v := bookmark(s.kind, revision, initialEnd)
	if s.rows != nil {
		t, err := s.rows.event(v, false)
		if err != nil {
			return err
		}
		body, err := object(t, s.as, s.media)
		s.write(watch.Bookmark, [][]byte{body})
		return err
	}
	item, err := s.form.encode(v.Object)
	if err != nil {
		return err
	}
	s.write(watch.Bookmark, s.form.single(item))
	return nil
}

// write frames an event whose object consists of pieces.
func (s *stream) write(kind watch.EventType, pieces [][]byte) {
	if s.socket != nil {
		defer s.send()
	}
	switch s.media {
	case protobufMedia:
		s.writeFrame(kind, pieces)
		return
	case cborMedia:
		s.put(cborEvent(kind))
		s.put(pieces...)
		return
	}
	s.put([]byte(`{"type":"`), []byte(kind), []byte(`","object":`))
	s.put(pieces...)
	s.put([]byte("}\n"))
}

// writeFrame writes a metav1.WatchEvent: field 1 its type, field 2 a RawExtension,
// whose field 1 are the object's bytes.
func (s *stream) writeFrame(kind watch.EventType, pieces [][]byte) {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	raw := binary.AppendUvarint([]byte{1<<3 | 2}, uint64(size))
	head := appendField(nil, 1, []byte(kind))
	head = append(head, 2<<3|2)
	head = binary.AppendUvarint(head, uint64(len(raw)+size))
	head = append(head, raw...)
	if s.socket == nil { // messages know their length
		s.put(binary.BigEndian.AppendUint32(nil, uint32(len(head)+size)))
	}
	s.put(head)
	s.put(pieces...)
}

func (s *stream) put(pieces ...[]byte) {
	s.held = true
	for _, p := range pieces {
		if s.err == nil {
			_, s.err = s.buf.Write(p)
		}
	}
}

// flush sends what has been written, if anything.
func (s *stream) flush() error {
	if s.err != nil || !s.held {
		return s.err
	}
	s.held = false
	s.err = s.buf.Flush()
	if s.err == nil && s.socket == nil {
		s.err = http.NewResponseController(s.w).Flush()
	}
	return s.err
}

// send makes a message of what has been written.
func (s *stream) send() {
	if s.err == nil {
		s.err = s.buf.Flush()
	}
	if s.err == nil {
		s.err = s.socket.send()
	}
}
