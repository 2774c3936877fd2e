package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/gorilla/mux"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Upstream's limits: a silent stream is cut after the one, a client has the other to
// open the streams it announced.
const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = remotecommand.DefaultStreamCreationTimeout
)

// target is the container that a request's path names.
type target struct {
	pod       string // namespace/name
	uid       types.UID
	container string
}

func targetOf(r *http.Request) target {
	path := mux.Vars(r)
	return target{path["namespace"] + "/" + path["pod"], types.UID(path["uid"]), path["container"]}
}

func (s *Server) serveExec(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t, command := targetOf(r), r.Form["command"]
	if len(command) == 0 {
		http.Error(w, "you must specify a command", http.StatusBadRequest)
		return
	}
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		serveV5(w, r, options, func(ctx context.Context, in io.Reader, out, err io.WriteCloser, resize <-chan remotecommand.TerminalSize) error {
			return s.backend.ExecInContainer(ctx, t.pod, string(t.uid), t.container, command, in, out, err, options.TTY, resize, 0)
		})
		return
	}
	remotecommand.ServeExec(w, r, s.backend, t.pod, string(t.uid), t.container, command, options,
		idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) serveAttach(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t := targetOf(r)
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		serveV5(w, r, options, func(ctx context.Context, in io.Reader, out, err io.WriteCloser, resize <-chan remotecommand.TerminalSize) error {
			return s.backend.AttachContainer(ctx, t.pod, string(t.uid), t.container, in, out, err, options.TTY, resize)
		})
		return
	}
	remotecommand.ServeAttach(w, r, s.backend, t.pod, string(t.uid), t.container, options,
		idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) servePortForward(w http.ResponseWriter, r *http.Request) {
	t := targetOf(r)
	if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		tunnelled, request, err := openTunnel(w, r)
		if err != nil {
			s.cfg.Log.Debug("port-forward: open a tunnel", "err", err) // the client was told
			return
		}
		defer tunnelled.conn.Close()
		w, r = tunnelled, request
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, s.backend, t.pod, string(t.uid), options,
		idleTimeout, creationTimeout, portforward.SupportedProtocols)
}
