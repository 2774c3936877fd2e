package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/proxy"
)

// connects says which subresources are streams that the server passes on to a node.
func connects(resource, subresource string) bool {
	switch subresource {
	case "exec", "attach", "portforward":
		return resource == "pods"
	}
	return false
}

// connect joins the client with the Pod's node for exec, attach and port-forward. The
// client asks for an upgrade to SPDY or WebSocket; what is spoken over it afterwards is
// between the two.
func (h *handlers) connect(c *call) error {
	if c.r.Method == http.MethodGet { // which a WebSocket must be: looking is not doing
		if err := h.authorizeAlso(c, "create"); err != nil {
			return err
		}
	}
	where, err := h.streamLocation(c)
	if err != nil {
		return err
	}
	return h.passOn(c, where, h.nodes.transport, false)
}

// passOn sends the client's request to another server, and back what that answers, over
// an upgraded connection too. A proxy rewrites what comes back, a stream has to upgrade.
func (h *handlers) passOn(c *call, where *url.URL, transport http.RoundTripper, proxied bool) error {
	ctx, cancel := h.untilStop(c.ctx())
	defer cancel()
	w := &upgradable{ResponseWriter: c.w, hijacked: func(conn net.Conn) {
		context.AfterFunc(ctx, func() { _ = conn.Close() })
	}}
	r := c.r.Clone(ctx)
	r.Header.Del("Authorization") // what identifies the client is for this server alone
	proxy.NewUpgradeAwareHandler(where, transport, proxied, !proxied, responder{h}).ServeHTTP(w, r)
	return nil
}

// untilStop is a context that also ends when the server stops: for requests that would
// last for ever. The function that it returns frees what it uses.
func (h *handlers) untilStop(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-h.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(); <-watching }
}

// upgradable tells when its connection is taken over.
type upgradable struct {
	http.ResponseWriter
	hijacked func(net.Conn)
}

// Hijack implements http.Hijacker.
func (u *upgradable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err == nil {
		u.hijacked(conn)
	}
	return conn, rw, err
}

// streamLocation is the kubelet's path for the call.
func (h *handlers) streamLocation(c *call) (*url.URL, error) {
	pod, err := h.pod(c, c.name)
	if err != nil {
		return nil, err
	}
	query := c.r.URL.Query()
	path := "/portForward/" + pod.Namespace + "/" + pod.Name
	params := url.Values{}
	if c.subresource == "portforward" {
		if ports := query["ports"]; len(ports) > 0 {
			params.Set("port", strings.Join(ports, ","))
		}
	} else {
		container, err := containerOf(pod, query.Get("container"))
		if err != nil {
			return nil, err
		}
		path = "/" + c.subresource + "/" + pod.Namespace + "/" + pod.Name + "/" + container
		params = streamParams(query, c.subresource)
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	where, err := h.nodes.location(c.ctx(), pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	where.Path, where.RawQuery = path, params.Encode()
	return where, nil
}

func (h *handlers) pod(c *call, name string) (*corev1.Pod, error) {
	v, err := c.objects.Get(c.ctx(), c.namespace, name, false)
	if err != nil {
		return nil, err
	}
	return v.Object.(*corev1.Pod), nil
}

// streamParams translates PodExecOptions and PodAttachOptions into what a kubelet
// reads: stdin becomes input, and so on.
func streamParams(query url.Values, subresource string) url.Values {
	out := url.Values{}
	for ours, theirs := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		if isTrue(query.Get(ours)) {
			out.Set(theirs, "1")
		}
	}
	if subresource == "exec" {
		for _, arg := range query["command"] {
			out.Add("command", arg)
		}
	}
	return out
}

// containerOf checks the container's name, or finds the only one.
//
// Kubernetes: the annotation kubectl.kubernetes.io/default-container is kubectl's to
// read, there as here.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	var names []string
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	if name == "" {
		switch len(pod.Spec.Containers) {
		case 1:
			return pod.Spec.Containers[0].Name, nil
		case 0:
			return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, names))
	}
	for _, n := range names {
		if n == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

// responder writes a proxy's errors the way all others are.
type responder struct{ h *handlers }

func (r responder) Error(w http.ResponseWriter, req *http.Request, err error) { r.h.fail(w, req, err) }
