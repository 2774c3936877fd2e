package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientportforward "k8s.io/client-go/tools/portforward"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"
)

// serveV5 serves exec and attach over a WebSocket of protocol v5.channel.k8s.io,
// which is what kubectl asks for first. Different from v4, a client can end its
// standard input while it goes on reading.
//
// Kubernetes: there the API server translates v5 into SPDY for the node. Ours passes
// upgraded connections through, so the node speaks it.
func serveV5(w http.ResponseWriter, r *http.Request, o *remotecommand.Options,
	run func(ctx context.Context, in io.Reader, out, err io.WriteCloser, resize <-chan remotecommand.TerminalSize) error) {
	channels := make([]wsstream.ChannelType, remotecommand.StreamResize+1) // ignored unless set
	set := func(channel int, wanted bool, t wsstream.ChannelType) {
		if wanted {
			channels[channel] = t
		}
	}
	set(remotecommand.StreamStdIn, o.Stdin, wsstream.ReadChannel)
	set(remotecommand.StreamStdOut, o.Stdout, wsstream.WriteChannel)
	set(remotecommand.StreamStdErr, o.Stderr, wsstream.WriteChannel)
	set(remotecommand.StreamErr, true, wsstream.WriteChannel)
	set(remotecommand.StreamResize, true, wsstream.ReadChannel)
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		remotecommand.StreamProtocolV5Name: {Binary: true, Channels: channels},
	})
	conn.SetIdleTimeout(idleTimeout)
	// Closing the connection at the program's end makes wsstream log an error each time.
	quiet := klog.NewContext(r.Context(), klog.Logger{})
	_, streams, err := conn.Open(w, r.WithContext(quiet))
	if err != nil {
		return // the client was told, or has gone
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var in io.Reader
	if o.Stdin {
		in = streams[remotecommand.StreamStdIn]
	}
	resize := make(chan remotecommand.TerminalSize)
	go readSizes(ctx, streams[remotecommand.StreamResize], resize) // ends with the connection
	status := exitStatus(run(ctx, in, streams[remotecommand.StreamStdOut], streams[remotecommand.StreamStdErr], resize))
	data, err := json.Marshal(status)
	if err == nil {
		_, _ = streams[remotecommand.StreamErr].Write(data)
	}
}

// readSizes passes on the client's window sizes.
func readSizes(ctx context.Context, from io.Reader, to chan<- remotecommand.TerminalSize) {
	defer close(to)
	decoder := json.NewDecoder(from)
	for {
		var size remotecommand.TerminalSize
		if decoder.Decode(&size) != nil {
			return
		}
		select {
		case to <- size:
		case <-ctx.Done():
			return
		}
	}
}

// exitStatus is how a program's end is told to the client.
func exitStatus(err error) metav1.Status {
	var exit utilexec.ExitError
	switch {
	case err == nil:
		return metav1.Status{Status: metav1.StatusSuccess}
	case errors.As(err, &exit) && exit.Exited():
		return metav1.Status{
			Status:  metav1.StatusFailure,
			Reason:  remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: %v", exit),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{
				{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(exit.ExitStatus())},
			}},
		}
	default:
		return metav1.Status{
			Status:  metav1.StatusFailure,
			Reason:  metav1.StatusReasonInternalError,
			Message: fmt.Sprintf("Internal error occurred: error executing command in container: %v", err),
			Code:    http.StatusInternalServerError,
		}
	}
}

// tunnel is a port-forward's SPDY connection inside a WebSocket, dressed up as the
// response to an upgrade request: kubectl's second way since 1.31.
type tunnel struct {
	header http.Header
	conn   net.Conn
}

// openTunnel accepts the WebSocket and returns what a handler of SPDY expects.
func openTunnel(w http.ResponseWriter, r *http.Request) (*tunnel, *http.Request, error) {
	upgrader := websocket.Upgrader{
		HandshakeTimeout: 30 * time.Second,
		Subprotocols:     []string{spdy.HeaderSpdy31 + "+" + portforward.ProtocolV1Name},
		CheckOrigin:      func(*http.Request) bool { return true }, // clients show certificates; browsers have none
	}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, nil, err
	}
	inner := r.Clone(r.Context())
	inner.Header = http.Header{}
	inner.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	inner.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	inner.Header.Set(httpstream.HeaderProtocolVersion, portforward.ProtocolV1Name)
	return &tunnel{http.Header{}, clientportforward.NewTunnelingConnection("node", ws)}, inner, nil
}

// Header, Write and WriteHeader swallow the inner handshake, which the client of a
// tunnel leaves out.
func (t *tunnel) Header() http.Header         { return t.header }
func (t *tunnel) Write(p []byte) (int, error) { return len(p), nil }
func (t *tunnel) WriteHeader(int)             {}

// Hijack hands over the connection inside.
func (t *tunnel) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return t.conn, bufio.NewReadWriter(bufio.NewReader(t.conn), bufio.NewWriter(t.conn)), nil
}
