package apiserver

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// logs streams a container's log from its node.
func (h *handlers) logs(c *call) error {
	pod, err := h.pod(c, c.name)
	if err != nil {
		return err
	}
	container, err := containerOf(pod, c.r.URL.Query().Get("container"))
	if err != nil {
		return err
	}
	params, err := logParams(c.r.URL.Query())
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" { // nothing has run, so there is nothing to show
		c.w.Header().Set("Content-Type", "text/plain")
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	where, err := h.nodes.location(c.ctx(), pod.Spec.NodeName)
	if err != nil {
		return err
	}
	where.Path = "/containerLogs/" + pod.Namespace + "/" + pod.Name + "/" + container
	where.RawQuery = params.Encode()
	return h.relay(c, where)
}

// logParams checks PodLogOptions and passes them on.
func logParams(query url.Values) (url.Values, error) {
	out := url.Values{}
	for _, name := range []string{"follow", "previous", "timestamps"} {
		if isTrue(query.Get(name)) {
			out.Set(name, "true")
		}
	}
	for _, name := range []string{"sinceSeconds", "tailLines", "limitBytes"} {
		v := query.Get(name)
		if v == "" {
			continue
		}
		if n, err := strconv.ParseInt(v, 10, 64); err != nil || n < 0 {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%s: %q is not a number of at least 0", name, v))
		}
		out.Set(name, v)
	}
	for _, name := range []string{"sinceTime", "stream"} {
		if v := query.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	return out, nil
}

// relay answers with what a node answers, as it comes.
func (h *handlers) relay(c *call, where *url.URL) error {
	ctx, cancel := h.untilStop(c.ctx())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return err
	}
	resp, err := h.nodes.transport.RoundTrip(req)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("Get %q: %w", where, err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refused(resp)
	}
	c.w.Header().Set("Content-Type", "text/plain")
	c.w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(c.w)
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if _, err := c.w.Write(buf[:n]); err != nil {
				return nil
			}
			_ = flush.Flush()
		}
		if err != nil {
			return nil // the end, or nobody left to tell
		}
	}
}

// refused makes a node's error our own.
func (c *call) refused(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 2048))
	switch message := strings.TrimSpace(string(text)); resp.StatusCode {
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(message)
	case http.StatusInternalServerError:
		return apierrors.NewInternalError(fmt.Errorf("%s", message))
	default:
		return apierrors.NewGenericServerResponse(resp.StatusCode, "GET", c.kind.GroupResource(), c.name, message, 0, true)
	}
}
