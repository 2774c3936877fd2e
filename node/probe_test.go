package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestProbe plays a row of results, one a period, and writes down when the verdict changes.
func TestProbe(t *testing.T) {
	for name, row := range map[string]struct {
		probe   corev1.Probe
		ok      bool
		results string // y or n
		want    string // seconds at which it turned
	}{
		"ready at once":               {corev1.Probe{}, false, "y", "0:true"},
		"initial delay":               {corev1.Probe{InitialDelaySeconds: 7}, false, "y", "7:true"},
		"default threshold is three":  {corev1.Probe{}, true, "ynnn", "30:false"},
		"failures must be in a row":   {corev1.Probe{FailureThreshold: 2}, true, "nynyn", ""},
		"and back":                    {corev1.Probe{FailureThreshold: 1, PeriodSeconds: 2}, false, "yny", "0:true 2:false 4:true"},
		"successes must be in a row":  {corev1.Probe{SuccessThreshold: 2, PeriodSeconds: 1}, false, "ynyy", "3:true"},
		"a probe that takes too long": {corev1.Probe{FailureThreshold: 1, TimeoutSeconds: 3}, true, "t", "3:false"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				begin, results, turned := time.Now(), row.results, []string{}
				check := func(ctx context.Context) error {
					if results == "" {
						cancel()
						return nil
					}
					result := results[0]
					results = results[1:]
					switch result {
					case 'y':
						return nil
					case 't':
						<-ctx.Done()
					}
					return errors.New("no")
				}
				probe(ctx, &row.probe, row.ok, check, func(ok bool, _ error) bool {
					turned = append(turned, fmt.Sprintf("%d:%v", int(time.Since(begin).Seconds()), ok))
					return true
				})
				if got := strings.Join(turned, " "); got != row.want {
					t.Errorf("turned at %q, want %q", got, row.want)
				}
			})
		})
	}
}

func TestHTTPProbe(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/header":
			if r.Header.Get("X-Me") != "probe" || r.Host != "web.example" || r.UserAgent() != "kube-probe/1.37" {
				http.Error(w, "no", http.StatusForbidden)
			}
		case "/query":
			if r.URL.RawQuery != "a=b" {
				http.Error(w, "no", http.StatusForbidden)
			}
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/bad":
			http.Error(w, "no", http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	must(t, err)
	port, err := strconv.Atoi(u.Port())
	must(t, err)
	spec := &corev1.Container{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: int32(port)}}}
	p := &prober{podIP: "127.0.0.1"}
	for path, want := range map[string]string{
		"/": "", "/header": "", "/query?a=b": "", "/away": "", "/bad": "HTTP probe failed with statuscode: 500",
	} {
		err := p.check(t.Context(), &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromString("http"),
			HTTPHeaders: []corev1.HTTPHeader{{Name: "X-Me", Value: "probe"}, {Name: "Host", Value: "web.example"}},
		}}}, spec)
		if got := fmt.Sprint(err); err == nil && want != "" || err != nil && got != want {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	tcp := func(port intstr.IntOrString) error {
		return p.check(t.Context(), &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}}, spec)
	}
	if err := tcp(intstr.FromInt32(int32(port))); err != nil {
		t.Error(err)
	}
	if err := tcp(intstr.FromString("nope")); err == nil {
		t.Error("a port that is not declared was probed")
	}
	server.Close()
	if err := tcp(intstr.FromInt32(int32(port))); err == nil {
		t.Error("connected to a server that has gone")
	}
}

func TestEnvironment(t *testing.T) {
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace, pod.Labels = "web", "shop", map[string]string{"app.kubernetes.io/name": "x"}
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	from := source{pod: pod, podIPs: []string{"10.244.1.5", "fd00:10:244:1::5"}, hostIPs: []string{"172.30.0.11"}}
	env, err := environment(from, &corev1.Container{TTY: true, Env: []corev1.EnvVar{
		{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)-$(NO)-$$(A)-$x"}, {Name: "A", Value: "2"},
		{Name: "L", ValueFrom: field("metadata.labels['app.kubernetes.io/name']")},
		{Name: "IP", ValueFrom: field("status.podIP")}, {Name: "NS", ValueFrom: field("metadata.namespace")},
	}}, []string{"HOME=/srv", "A=0"}, "host", nil)
	must(t, err)
	want := "A=2 B=1-$(NO)-$(A)-$x HOME=/srv HOSTNAME=host IP=10.244.1.5 L=x NS=shop"
	if got, _, _ := strings.Cut(strings.Join(env, " "), " PATH="); got != want || env[len(env)-1] != "TERM=xterm" {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, value := range []*corev1.EnvVarSource{field("spec.nope"), {FileKeyRef: &corev1.FileKeySelector{}}} {
		if _, err := environment(source{pod: pod}, &corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: value}}}, nil, "", nil); err == nil {
			t.Errorf("%+v was accepted", value)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A)$$(B)$(")
	f.Fuzz(func(t *testing.T, text string) {
		if got := expand(text, nil); !strings.Contains(text, "$") && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
