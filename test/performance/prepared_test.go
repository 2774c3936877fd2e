package performance

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// preparedAddress is where the server of prepared bytes listens.
const preparedAddress = "127.0.0.1:26444"

// TestMain lets this binary be that server, too: it must be a process of its own, so
// that its CPU time can be told from the clients'.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ORRERY_PREPARED"); dir != "" {
		go func() { // ends with whoever started it
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		fmt.Fprintln(os.Stderr, servePrepared(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// prepared sends bytes that somebody else has made: what any server in Go would take
// for the same answers over the same TLS and HTTP if it knew them already. A PUT
// prepares the answer to a GET of the same path with the same Accept header, or, at
// /event, what every watch is told at a POST.
type prepared struct {
	mu       sync.Mutex
	answers  map[string]answer
	event    []byte
	watchers map[chan []byte]bool
}

type answer struct {
	header http.Header
	body   []byte
}

func servePrepared(dir string) error {
	ca, err := pki.LoadOrCreateCA(dir, "orrery-ca")
	if err != nil {
		return err
	}
	pair, err := ca.Issue(pki.Request{User: "prepared", DNS: []string{"localhost"}})
	if err != nil {
		return err
	}
	cert, err := pair.TLS()
	if err != nil {
		return err
	}
	ln, err := (*host.Host)(nil).Listen(context.Background(), "tcp", preparedAddress)
	if err != nil {
		return err
	}
	s := &http.Server{
		Handler:   &prepared{answers: map[string]answer{}, watchers: map[chan []byte]bool{}},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert},
	}
	return s.ServeTLS(ln, "", "")
}

func (p *prepared) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch key := r.URL.RequestURI() + " " + r.Header.Get("Accept"); {
	case r.URL.Query().Get("watch") != "":
		p.watch(w, r)
	case r.Method == http.MethodGet:
		p.mu.Lock()
		a, ok := p.answers[key]
		p.mu.Unlock()
		if !ok {
			http.Error(w, "nothing is prepared for "+key, http.StatusNotFound)
			return
		}
		a.write(w, http.StatusOK)
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		p.prepare(r, key, body)
	case r.Method == http.MethodPost:
		_, _ = io.Copy(io.Discard, r.Body)
		p.mu.Lock()
		for w := range p.watchers {
			w <- p.event
		}
		a := p.answers["/created "]
		p.mu.Unlock()
		a.write(w, http.StatusCreated)
	}
}

func (p *prepared) prepare(r *http.Request, key string, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.URL.Path == "/event" {
		p.event = body
		return
	}
	a := answer{header: http.Header{}, body: body}
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		if v := r.Header.Get(name); v != "" {
			a.header.Set(name, v)
		}
	}
	p.answers[strings.TrimSuffix(key, "*/*")] = a
}

func (a answer) write(w http.ResponseWriter, code int) {
	for name, v := range a.header {
		w.Header()[name] = v
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(a.body)))
	w.WriteHeader(code)
	_, _ = w.Write(a.body)
}

// watch tells of all events until the client goes, with one flush for all that wait.
func (p *prepared) watch(w http.ResponseWriter, r *http.Request) {
	events := make(chan []byte, 1000)
	p.mu.Lock()
	p.watchers[events] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watchers, events)
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	for {
		select {
		case e := <-events:
			_, _ = w.Write(e)
			if len(events) == 0 {
				_ = flush.Flush()
			}
		case <-r.Context().Done():
			return
		}
	}
}
