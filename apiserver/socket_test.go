package apiserver

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// dial opens a watch over a WebSocket.
func (c *cluster) dial(path, accept string) (*websocket.Conn, *http.Response) {
	c.t.Helper()
	config, err := rest.TLSConfigFor(c.admin)
	if err != nil {
		c.t.Fatal(err)
	}
	dialer := websocket.Dialer{TLSClientConfig: config}
	header := http.Header{"Origin": {c.url}, "Accept": {accept}}
	conn, response, err := dialer.DialContext(c.t.Context(), strings.Replace(c.url, "https", "wss", 1)+path, header)
	if err != nil {
		c.t.Fatal(err, response)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	return conn, response
}

func TestWatchOverWebSocket(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	made, err := c.client().CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conn, response := c.dial(configMaps+"?watch=1&resourceVersion="+made.ResourceVersion, "application/json")
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response.Status)
	}
	next := func() (int, metav1.WatchEvent) {
		t.Helper()
		kind, message, err := conn.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		var e metav1.WatchEvent
		if err := json.Unmarshal(message, &e); err != nil {
			t.Fatalf("%v: %s", err, message)
		}
		return kind, e
	}
	for _, name := range []string{"b", "c"} {
		if _, err := c.client().CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if kind, e := next(); kind != websocket.TextMessage || e.Type != "ADDED" || !strings.Contains(string(e.Object.Raw), `"name":"`+name+`"`) {
			t.Errorf("%d %s %s", kind, e.Type, e.Object.Raw)
		}
	}

	binary, _ := c.dial(configMaps+"?watch=1", "application/vnd.kubernetes.protobuf")
	kind, message, err := binary.ReadMessage()
	var e metav1.WatchEvent
	if err != nil || kind != websocket.BinaryMessage {
		t.Fatal(kind, err)
	}
	if err := e.Unmarshal(message); err != nil || e.Type != "ADDED" || !strings.HasPrefix(string(e.Object.Raw), "k8s\x00") {
		t.Errorf("%v %v", err, e)
	}

	ended := make(chan error, 1)
	go func() { _, _, err := conn.ReadMessage(); ended <- err }()
	c.stop() // ends the watch, although its client doesn't
	if err := <-ended; !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("the watch ended with %v", err)
	}
}
