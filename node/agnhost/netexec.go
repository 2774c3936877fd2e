package agnhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"orrery.example.org/node/workload"
)

// server is netexec.
type server struct {
	*program
	httpPort, udpPort int
	stopping          <-chan struct{}
	exit              chan exit
}

// exit is the wish of a client that the server end.
type exit struct {
	code    int
	timeout time.Duration // for connections to end by themselves
}

func netexec(ctx context.Context, p *program) error {
	s := &server{program: p, stopping: ctx.Done(), exit: make(chan exit, 1)}
	p.flags.IntVar(&s.httpPort, "http-port", 8080, "HTTP Listen Port")
	p.flags.IntVar(&s.udpPort, "udp-port", 8081, "UDP Listen Port")
	override := p.flags.String("http-override", "", "Override the HTTP handler to always respond as if it were a GET with this path & params")
	addresses := p.flags.String("udp-listen-addresses", "", "A comma separated list of ip addresses the udp servers listen from")
	delay := p.flags.Int("delay-shutdown", 0, "Number of seconds to delay shutdown when receiving SIGTERM.")
	if err := p.parse(0); err != nil {
		return err
	}
	ln, err := s.Host.Listen(ctx, "tcp", ":"+strconv.Itoa(s.httpPort))
	if err != nil {
		return err
	}
	web := &http.Server{Handler: s.handler(*override), ReadHeaderTimeout: time.Minute}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer web.Close()
	stopUDP, err := s.serveUDP(ctx, strings.Split(*addresses, ","), &serving)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer stopUDP()
	failed := make(chan error, 1)
	serving.Go(func() { failed <- web.Serve(ln) })
	s.Ready()
	select {
	case err := <-failed:
		return err
	case e := <-s.exit:
		return s.leave(web, e)
	case <-ctx.Done():
	}
	select { // traffic may still come in, until everybody has heard
	case <-time.After(time.Duration(*delay) * time.Second):
	case <-s.Killed:
	}
	return nil
}

// leave ends the server on a client's wish.
func (s *server) leave(web *http.Server, e exit) error {
	ctx, cancel := context.WithTimeout(context.Background(), e.timeout)
	defer cancel()
	_ = web.Shutdown(ctx) // connections that do not end are cut
	if e.code == 0 {
		return nil
	}
	return workload.Exit{Code: e.code}
}

// handler is what the server answers. An override stands in for every request's URL.
func (s *server) handler(override string) http.Handler {
	mux := http.NewServeMux()
	for path, answer := range map[string]http.HandlerFunc{
		"/":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "NOW: %v", time.Now()) },
		"/clientip":   func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) },
		"/serverport": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.httpPort) },
		"/hostname":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.hostname()) },
		"/hostName":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.hostname()) },
		"/healthz":    func(http.ResponseWriter, *http.Request) {},
		"/shutdown":   func(http.ResponseWriter, *http.Request) { s.end(exit{}) },
		"/header":     header, "/echo": echo, "/redirect": redirect,
		"/readyz": s.readyz, "/envvar": s.envvar, "/exit": s.exitSoon, "/shell": s.shell, "/dial": s.dial,
	} {
		mux.HandleFunc(path, answer)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, err := url.Parse(override); err == nil && override != "" {
			r.URL.Path, r.URL.RawQuery, r.RequestURI, r.Method = u.Path, u.RawQuery, override, http.MethodGet
		}
		s.log.Printf("GET %s", r.URL.RequestURI())
		mux.ServeHTTP(w, r)
	})
}

func header(w http.ResponseWriter, r *http.Request) {
	if key := r.FormValue("key"); key != "" {
		fmt.Fprint(w, r.Header.Get(key))
		return
	}
	writeJSON(w, r.Header)
}

func echo(w http.ResponseWriter, r *http.Request) {
	if code := r.FormValue("code"); code != "" {
		n, err := strconv.Atoi(code)
		if err != nil || n < 100 || n > 999 {
			fmt.Fprintf(w, "argument 'code' must be an integer or empty, got %q\n", code)
			return
		}
		w.WriteHeader(n)
	}
	fmt.Fprint(w, r.FormValue("msg"))
}

func redirect(w http.ResponseWriter, r *http.Request) {
	code := http.StatusFound
	if text := r.FormValue("code"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 100 || n > 999 {
			fmt.Fprintf(w, "argument 'code' must be an integer or empty, got %q\n", text)
			return
		}
		code = n
	}
	http.Redirect(w, r, r.FormValue("location"), code)
}

func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-s.stopping:
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, "shutting down")
	default:
		fmt.Fprint(w, "ok")
	}
}

func (s *server) envvar(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("var")
	if name == "" {
		http.Error(w, "'var' query parameter is required", http.StatusBadRequest)
		return
	}
	value, ok := s.variable(name)
	if !ok {
		http.Error(w, fmt.Sprintf("env var %q is not set", name), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, value)
}

// shell runs a command of the node in the container.
func (s *server) shell(w http.ResponseWriter, r *http.Request) {
	command := r.FormValue("shellCommand")
	if command == "" {
		command = r.FormValue("cmd")
	}
	out, err := s.Exec(r.Context(), "sh", "-c", command)
	answer := map[string]string{}
	if len(out) > 0 {
		answer["output"] = string(out)
	}
	if exit := (workload.Exit{}); errors.As(err, &exit) && exit.Signal == 0 {
		answer["error"] = fmt.Sprintf("exit status %d", exit.Code)
	} else if err != nil {
		answer["error"] = err.Error()
	}
	writeJSON(w, answer)
}

func (s *server) exitSoon(w http.ResponseWriter, r *http.Request) {
	var e exit
	wait := time.Duration(0)
	for name, field := range map[string]*time.Duration{"timeout": &e.timeout, "wait": &wait} {
		text := r.FormValue(name)
		d, err := time.ParseDuration(text)
		if err != nil && text != "" {
			fmt.Fprintf(w, "argument '%s' must be a valid golang duration or empty, got %q\n", name, text)
			return
		}
		*field = d
	}
	if text := r.FormValue("code"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 127 {
			fmt.Fprintf(w, "argument 'code' must be an integer [0-127] or empty, got %q\n", text)
			return
		}
		e.code = n
	}
	select {
	case <-time.After(wait):
		s.end(e)
	case <-r.Context().Done():
	}
}

// end has the server end; only the first wish counts.
func (s *server) end(e exit) {
	select {
	case s.exit <- e:
	default:
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, fmt.Sprintf("response could not be serialized. %v", err), http.StatusExpectationFailed)
		return
	}
	_, _ = w.Write(data) // a client that left is no error of ours
}
