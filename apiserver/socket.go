package apiserver

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/net/websocket"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// socket carries a watch over a WebSocket, which is what browsers can read as it comes:
// one event is one message, of text where the serialization is, else binary.
type socket struct {
	conn    *websocket.Conn
	message bytes.Buffer
	text    bool
	stall   time.Duration
}

// Write adds to the message.
func (s *socket) Write(b []byte) (int, error) { return s.message.Write(b) }

// send sends the message, and begins another.
func (s *socket) send() error {
	defer s.message.Reset()
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.stall)) // fails on a closed connection, as the next line does
	if s.text {
		return websocket.Message.Send(s.conn, s.message.String())
	}
	return websocket.Message.Send(s.conn, s.message.Bytes())
}

// carry sends the events that run writes to the client: over a WebSocket if it asked for
// one, else as the answer to its request.
func (h *handlers) carry(c *call, s *stream, run func(context.Context) error) error {
	if !wsstream.IsWebSocketRequest(c.r) {
		s.start()
		return run(c.ctx())
	}
	c.w.Header().Set("Content-Type", s.contentType())
	websocket.Handler(func(conn *websocket.Conn) {
		ctx, cancel := context.WithCancel(c.ctx())
		var listening sync.WaitGroup
		listening.Go(func() { // the client has nothing to say, but may close
			defer cancel()
			_, _ = io.Copy(io.Discard, conn)
		})
		s.socket = &socket{conn: conn, text: s.media == jsonMedia, stall: h.stall}
		s.buf.Reset(s.socket)
		_ = run(ctx) // what failed has been sent as an event
		_ = conn.SetDeadline(time.Now().Add(h.stall))
		_ = conn.Close()
		listening.Wait()
	}).ServeHTTP(c.w, c.r)
	return nil
}
