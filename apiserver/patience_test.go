package apiserver

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/host"
	"orrery.example.org/pki"
)

const briefStall = 200 * time.Millisecond

// impatient starts a server that waits for no client for long.
func impatient(t *testing.T) *cluster {
	c := start(t)
	c.stop()
	c.tune = func(s *Server) { s.stall = briefStall }
	c.boot()
	return c
}

// TestClientThatDoesNotRead: watches and lists whose client has stopped reading end, over
// HTTP/1.1 and over HTTP/2; other requests on the same HTTP/2 connection go on.
func TestClientThatDoesNotRead(t *testing.T) {
	c := impatient(t)
	maps := c.client().CoreV1().ConfigMaps("default")
	big := map[string]string{"a": strings.Repeat("x", 900_000)}
	for i := range 20 { // more than the buffers of a connection hold
		if _, err := maps.Create(t.Context(), configMap(fmt.Sprint("big", i), big), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, protocol := range []string{"http/1.1", "h2"} {
		for what, query := range map[string]string{"list": "", "watch": "?watch=1"} {
			t.Run(protocol+" "+what, func(t *testing.T) {
				client := c.narrow(t, protocol)
				resp, err := client.Get(c.url + configMaps + query)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				eventually(t, "the handler that writes to us", func() error {
					return expect("its number", serving(what), 0)
				})
				if protocol == "h2" {
					other, err := client.Get(c.url + "/version")
					if err != nil || other.StatusCode != http.StatusOK {
						t.Errorf("another request: %v %v", other, err)
					}
				}
			})
		}
	}
}

// narrow is a client with its own connection, of one protocol.
func (c *cluster) narrow(t *testing.T, protocol string) *http.Client {
	pair, err := c.issue(pki.Admin).TLS()
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: c.ca.Pool(), Certificates: []tls.Certificate{pair}, NextProtos: []string{protocol}},
		ForceAttemptHTTP2: protocol == "h2", DisableCompression: true,
		DialContext: (*host.Host)(nil).Dial,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// serving counts the handlers of a verb that are under way.
func serving(verb string) int {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "(*handlers)."+verb+"(")
}

// TestIdleWatchLasts: a watch on which nothing happens for longer than a client may stall
// is in nobody's way, and what comes after that arrives.
func TestIdleWatchLasts(t *testing.T) {
	c := impatient(t)
	maps := c.client().CoreV1().ConfigMaps("default")
	if _, err := maps.Create(t.Context(), configMap("a", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"http/1.1", "h2"} {
		client := c.narrow(t, protocol)
		for range 2 { // on the same connection, after the first one's end
			resp, err := client.Get(c.url + configMaps + "/a")
			if err != nil {
				t.Fatal(protocol, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			time.Sleep(2 * briefStall)
			resp, err = client.Get(c.url + configMaps + "?watch=1&timeoutSeconds=1")
			if err != nil {
				t.Fatal(protocol, err)
			}
			time.Sleep(2 * briefStall)
			stamp := time.Now().UnixNano()
			if _, err := maps.Patch(t.Context(), "a", types.MergePatchType, fmt.Appendf(nil, `{"data":{"t":"%d"}}`, stamp), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			_, err = io.Copy(&all, resp.Body) // until the watch's time is up: a clean end
			resp.Body.Close()
			if err != nil || !strings.Contains(all.String(), fmt.Sprint(stamp)) {
				t.Errorf("%s: %v, got %s", protocol, err, all.String())
			}
		}
	}
}
