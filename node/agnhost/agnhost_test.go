package agnhost

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/node/workload"
)

// newProgram is a program of a Pod named web-0, in the process's own network.
func newProgram(args ...string) (*workload.Container, *bytes.Buffer) {
	var stderr bytes.Buffer
	return &workload.Container{
		Spec:   corev1.Container{Args: args, Env: []corev1.EnvVar{{Name: "HOSTNAME", Value: "web-0"}, {Name: "COLOUR", Value: "Blue"}}},
		Stdout: io.Discard, Stderr: &stderr, Ready: func() {}, Killed: context.Background().Done(),
	}, &stderr
}

func newServer(t *testing.T) *server {
	c, _ := newProgram()
	c.Exec = func(_ context.Context, argv ...string) ([]byte, error) {
		if argv[2] == "false" {
			return nil, workload.Exit{Code: 3}
		}
		return []byte(strings.Join(argv, " ")), nil
	}
	p := &program{Container: c, flags: flag.NewFlagSet("", flag.ContinueOnError), log: log.New(io.Discard, "", 0)}
	return &server{program: p, httpPort: 8080, udpPort: 8081, stopping: t.Context().Done(), exit: make(chan exit, 1)}
}

func TestHTTP(t *testing.T) {
	for path, want := range map[string]string{
		"/hostname": "200 web-0", "/hostName": "200 web-0", "/clientip": "200 192.0.2.1:1234", "/serverport": "200 8080",
		"/healthz": "200 ", "/readyz": "200 ok",
		"/echo?msg=hello%20you": "200 hello you", "/echo?msg=no&code=418": "418 no",
		"/echo?code=x":        "200 argument 'code' must be an integer or empty, got \"x\"\n",
		"/echo?code=7":        "200 argument 'code' must be an integer or empty, got \"7\"\n",
		"/header?key=X-Me":    "200 you",
		"/envvar?var=COLOUR":  "200 Blue",
		"/envvar":             "400 'var' query parameter is required\n",
		"/envvar?var=NO":      "500 env var \"NO\" is not set\n",
		"/shell?cmd=date":     `200 {"output":"sh -c date"}`,
		"/shell?cmd=false":    `200 {"error":"exit status 3"}`,
		"/exit?code=128":      "200 argument 'code' must be an integer [0-127] or empty, got \"128\"\n",
		"/exit?wait=x":        "200 argument 'wait' must be a valid golang duration or empty, got \"x\"\n",
		"/dial?host=h&port=1": "400 request parameter not specified.\n",
		"/dial?host=127.0.0.1&port=1&request=x&protocol=ipx":         "400 unsupported protocol. ipx\n",
		"/dial?host=127.0.0.1&port=1&request=x&tries=many":           "400 tries parameter is invalid. \"many\" is not a number up to 1000\n",
		"/dial?host=127.0.0.1&port=x&request=x":                      "400 host and/or port param are invalid. port \"x\": strconv.ParseUint: parsing \"x\": invalid syntax\n",
		"/redirect?location=/echo%3Fmsg=foobar&code=307":             "307 <a href=\"/echo?msg=foobar\">Temporary Redirect</a>.\n\n",
		"/dial?host=127.0.0.1&port=1&request=x&tries=2&protocol=udp": "",
	} {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = "192.0.2.1:1234"
		r.Header.Set("X-Me", "you")
		w := httptest.NewRecorder()
		newServer(t).handler("").ServeHTTP(w, r)
		got := w.Result().Status[:3] + " " + w.Body.String()
		if want != "" && got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		if want == "" && !strings.Contains(got, `200 {"errors":["reading from udp connection failed`) {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestOverride(t *testing.T) {
	w := httptest.NewRecorder()
	newServer(t).handler("/echo?msg=always").ServeHTTP(w, httptest.NewRequest("POST", "/hostname?x=y", nil))
	if w.Body.String() != "always" {
		t.Errorf("answer %q", w.Body)
	}
}

func TestDial(t *testing.T) {
	s := newServer(t)
	other := httptest.NewServer(s.handler(""))
	defer other.Close()
	host, port, _ := strings.Cut(strings.TrimPrefix(other.URL, "http://"), ":")
	w := httptest.NewRecorder()
	s.handler("").ServeHTTP(w, httptest.NewRequest("GET", "/dial?tries=2&request=hostname&host="+host+"&port="+port, nil))
	if got := w.Body.String(); got != `{"responses":["web-0","web-0"]}` {
		t.Errorf("answer %s", got)
	}
}

func TestCommand(t *testing.T) {
	s := newServer(t)
	for text, want := range map[string]string{
		"hostname": "web-0", "hostName\n": "web-0", "clientip": "192.0.2.1:9", "serverport": "8081",
		"echo Hello You": "hello you", "envvar COLOUR": "Blue", "envvar NO": "",
	} {
		if got, known := s.command(text, "192.0.2.1:9"); got != want || !known {
			t.Errorf("%q: %q, %v", text, got, known)
		}
	}
	for _, text := range []string{"", "who", "echo", "hostname x"} {
		if got, known := s.command(text, ""); known {
			t.Errorf("%q is known: %q", text, got)
		}
	}
}

func TestArguments(t *testing.T) {
	for args, want := range map[string]string{
		"guestbook":             `agnhost: there is no "guestbook" here, but connect, dns-server-list, dns-suffix, entrypoint-tester, etc-hosts, netexec, nettest, pause, serve-hostname`,
		"nettest --service=":    "Must provide -service flag.",
		"nettest":               "Unable to create config; error: unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined",
		"netexec --sctp-port=1": "exit code 1", // the flag set says why
		"netexec more":          "agnhost netexec: accepts 0 arg(s), received 1",
		"connect":               "agnhost connect: accepts 1 arg(s), received 0",
		"connect nowhere":       "exit code 1",
		"serve-hostname --udp":  "--tcp and --udp go with --http=false only",
	} {
		c, stderr := newProgram(strings.Fields(args)...)
		if err := Run(t.Context(), c); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
		if args == "connect nowhere" && !strings.HasPrefix(stderr.String(), "UNKNOWN: ") {
			t.Errorf("%s wrote %q", args, stderr)
		}
	}
}

func TestShow(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"resolv.conf": "search a.example b.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n", "hosts": "192.0.2.3\tme\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]string{
		"dns-suffix": "a.example,b.example\n", "dns-server-list": "192.0.2.1,192.0.2.2\n", "etc-hosts": "192.0.2.3\tme\n\n",
		"entrypoint-tester a --b": "[/agnhost entrypoint-tester a --b]\n",
	} {
		c, _ := newProgram(strings.Fields(args)...)
		var out strings.Builder
		c.Stdout = &out
		c.Open = func(path string) (*os.File, error) { return os.Open(filepath.Join(dir, filepath.Base(path))) }
		if err := Run(t.Context(), c); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v", args, out.String(), err)
		}
	}
}

func TestResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("search a.example b.example\nnameserver 192.0.2.1\noptions ndots:5\nnameserver 192.0.2.2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, _ := newProgram()
	c.Open = func(string) (*os.File, error) { return os.Open(file) }
	servers, searches, err := (&program{Container: c}).resolvConf()
	if err != nil || strings.Join(servers, " ") != "192.0.2.1 192.0.2.2" || strings.Join(searches, " ") != "a.example b.example" {
		t.Errorf("%v, %v, %v", servers, searches, err)
	}
}

func FuzzCommand(f *testing.F) {
	f.Add("echo Hello")
	f.Fuzz(func(t *testing.T, text string) {
		s := &server{program: &program{Container: &workload.Container{}}}
		if answer, _ := s.command(text, ""); len(answer) > 4*len(text)+1 {
			t.Errorf("%q is answered by %q", text, answer)
		}
	})
}
