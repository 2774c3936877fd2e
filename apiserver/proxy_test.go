package apiserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// backend is what runs in the Pod: it tells what has arrived.
func backend(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Upgrade") == "websocket":
		conn, err := (&websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		kind, message, err := conn.ReadMessage()
		if err == nil {
			_ = conn.WriteMessage(kind, append([]byte("echo of "), message...))
		}
	case r.URL.Path == "/moved":
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	case r.URL.Path == "/page":
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<a href="/next">next</a><a href="near">near</a><a href="http://other/">other</a>`)
	default:
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("X-Method", r.Method)
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s auth=%q %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), body)
	}
}

const backendIP = "10.244.0.5"

// startProxied runs an API server to which port 8080 of backendIP is a backend, and the
// same port with TLS is 8443. All other ports refuse.
func startProxied(t *testing.T) *cluster {
	plain := httptest.NewServer(http.HandlerFunc(backend))
	secure := httptest.NewTLSServer(http.HandlerFunc(backend))
	t.Cleanup(func() { plain.Close(); secure.Close() })
	where := map[string]string{
		backendIP + ":8080": plain.Listener.Addr().String(),
		backendIP + ":8443": secure.Listener.Addr().String(),
	}
	ca, err := pki.NewCA("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, ca: ca, dir: t.TempDir(), port: "0", stop: func() {}}
	c.tune = func(s *Server) {
		s.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			to, ok := where[address]
			if !ok {
				return nil, fmt.Errorf("dial tcp %s: connect: connection refused", address)
			}
			return (*host.Host)(nil).Dial(ctx, network, to)
		}
	}
	c.boot()
	t.Cleanup(func() { c.stop() })
	return c
}

// proxied makes the Pod web with the given address, and the Service web in front of it.
func (c *cluster) proxied(ip string) {
	t, ctx := c.t, c.t.Context()
	t.Helper()
	core := c.client().CoreV1()
	p := pod("web", "n1", "c")
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
	p, err := core.Pods("default").Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Status.PodIPs, p.Status.PodIP = []corev1.PodIP{{IP: ip}}, ip
	if _, err := core.Pods("default").UpdateStatus(ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "https", Port: 443}},
	}}
	if _, err := core.Services("default").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ref := &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.6"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}, TargetRef: ref},
			{Addresses: []string{"10.244.0.7"}},                 // no Pod
			{Addresses: []string{"10.244.0.8"}, TargetRef: ref}, // the Pod has another address
			{Addresses: []string{backendIP}, TargetRef: ref},
		},
		Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}, {Name: new("https"), Port: new(int32(8443))}},
	}
	if _, err := c.client().DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n, err := core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: backendIP}}
	if _, err := core.Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestProxy(t *testing.T) {
	c := startProxied(t)
	c.proxied(backendIP)
	client := c.http()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	const pods, services = "/api/v1/namespaces/default/pods/", "/api/v1/namespaces/default/services/"
	for _, test := range []struct {
		method, path string
		code         int
		want         string // in the body, or what Location is
	}{
		{"GET", pods + "web/proxy/", 418, "GET / auth"},
		{"GET", pods + "web:8080/proxy/a//b/../c%2Fd%20e/?q=1&q=%2F", 418, "GET /a//b/../c%2Fd%20e/?q=1&q=%2F auth"},
		{"GET", pods + "web/proxy//", 418, "GET // auth"},
		{"GET", pods + "https:web:8443/proxy/x", 418, "GET /x auth"},
		{"POST", pods + "web/proxy/x", 418, "POST /x auth=\"\" body of it"},
		{"PUT", pods + "web/proxy/x", 418, "PUT /x auth=\"\" body of it"},
		{"PATCH", pods + "web/proxy/x", 418, "PATCH /x auth=\"\" body of it"},
		{"DELETE", pods + "web/proxy/x", 418, "DELETE /x auth=\"\" body of it"},
		{"OPTIONS", pods + "web/proxy/x", 418, "OPTIONS /x auth=\"\" body of it"},
		{"HEAD", pods + "web/proxy/x", 418, ""},
		{"TRACE", pods + "web/proxy/x", 405, "the server does not allow this method"},
		{"GET", pods + "web/proxy?q=1", 301, pods + "web/proxy/?q=1"},
		{"GET", pods + "web/proxy/moved", 302, pods + "web/proxy/elsewhere"},
		{"GET", pods + "web/proxy/page", 200, pods + `web/proxy/next">next</a><a href="near">near</a><a href="http://other/"`},
		{"GET", pods + "web/proxy/?dryRun=All", 400, "dryRun is not supported"},
		{"GET", pods + "ftp:web:80/proxy/", 400, `invalid pod request \"ftp:web:80\"`},
		{"GET", pods + "nope/proxy/", 404, `pods \"nope\" not found`},
		{"GET", pods + "web:81/proxy/", 503, "error trying to reach service: dial tcp 10.244.0.5:81: connect: connection refused"},
		{"GET", services + "web:http/proxy/x", 418, "GET /x auth"},
		{"GET", services + "web:80/proxy/x", 418, "GET /x auth"},
		{"GET", services + "https:web:443/proxy/x", 418, "GET /x auth"},
		{"GET", services + "web/proxy/x", 503, `no endpoints available for service \"web\"`}, // its ports have names
		{"GET", services + "web:81/proxy/x", 503, `no service port 81 found for service \"web\"`},
		{"GET", services + "nope:80/proxy/x", 404, `services \"nope\" not found`},
		{"GET", services + "nope/proxy/x", 503, `no endpoints available for service \"nope\"`},
		{"GET", "/api/v1/nodes/n1:8080/proxy/x", 418, "GET /x auth"},
		{"GET", "/api/v1/nodes/n1/proxy/x", 503, "10.244.0.5:10250: connect: connection refused"},
		{"GET", "/api/v1/nodes/n2/proxy/x", 404, `nodes \"n2\" not found`},
		{"GET", "/api/v1/namespaces/default/configmaps/x/proxy/", 404, "the server could not find the requested resource"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, c.url+test.path, strings.NewReader("body of it"))
		if err != nil {
			t.Fatal(err)
		}
		if test.method == "GET" {
			request.Body = nil
		}
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("%s %s: %v", test.method, test.path, err)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		got := string(body)
		if where := response.Header.Get("Location"); where != "" {
			got = strings.TrimPrefix(where, c.url)
		}
		if response.StatusCode != test.code || !strings.Contains(got, test.want) {
			t.Errorf("%s %s: %d %s", test.method, test.path, response.StatusCode, got)
		}
		if response.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: a Pod decides who may read the API server's answers", test.method, test.path)
		}
	}
}

// TestProxyWebSocket: an upgraded connection goes both ways.
func TestProxyWebSocket(t *testing.T) {
	c := startProxied(t)
	c.proxied(backendIP)
	tlsConfig, err := rest.TLSConfigFor(c.admin)
	if err != nil {
		t.Fatal(err)
	}
	dialer := websocket.Dialer{TLSClientConfig: tlsConfig}
	conn, response, err := dialer.DialContext(t.Context(), strings.Replace(c.url, "https", "wss", 1)+
		"/api/v1/namespaces/default/services/web:http/proxy/socket", nil)
	if err != nil {
		t.Fatal(err, response)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	_, message, err := conn.ReadMessage()
	if err != nil || string(message) != "echo of hello" {
		t.Errorf("%q, %v", message, err)
	}
}

// TestProxyLoopback: nobody gets at the API server's own machine through a Pod's status.
func TestProxyLoopback(t *testing.T) {
	c := startProxied(t)
	c.proxied("127.0.0.1")
	err := c.client().CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/default/pods/web/proxy/").Do(t.Context()).Error()
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "address not allowed") {
		t.Error(err)
	}
	_, err = c.client().CoreV1().Services("default").ProxyGet("", "web", "http", "/", nil).DoRaw(t.Context())
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("an endpoint that isn't the Pod's address: %v", err)
	}
}

// FuzzProxyPath: whatever is behind /proxy arrives unchanged.
func FuzzProxyPath(f *testing.F) {
	for _, seed := range []string{"", "/", "a//b", "a%2Fb", "../x", "%", "a b", "ä", "a;b=c", "a?b", "//host/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		u, err := url.ParseRequestURI("/" + sent)
		if err != nil || u.RawQuery != "" || u.ForceQuery {
			t.Skip()
		}
		rest := strings.TrimPrefix(u.EscapedPath(), "/")
		got := behindProxy(rest)
		if got.EscapedPath() != "/"+rest {
			t.Errorf("%q became %q", rest, got.EscapedPath())
		}
	})
}
