package agnhost

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// longestNettestLog bounds how much is remembered.
const longestNettestLog = 500

// handler is what a nettest answers.
func (s *nettestServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/read", s.serveRead)
	mux.HandleFunc("/write", s.serveWrite)
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.status()) })
	mux.HandleFunc("/quit", func(http.ResponseWriter, *http.Request) {
		select {
		case s.quit <- struct{}{}:
		default: // it ends already
		}
	})
	return mux
}

// status is pass, running or fail.
func (s *nettestServer) status() (word string) {
	s.change(func(state *nettestState) {
		switch {
		case len(state.Sent) >= s.peers && len(state.Received) >= s.peers:
			word = "pass"
		case state.StillContactingPeers:
			word = "running"
		default:
			word = "fail"
			state.note(fmt.Sprintf("Declaring failure for %s/%s with %d sent and %d received and %d peers",
				s.namespace, s.service, len(state.Sent), len(state.Received), s.peers))
		}
	})
	return word
}

func (s *nettestServer) serveRead(w http.ResponseWriter, _ *http.Request) {
	var data []byte
	s.change(func(state *nettestState) {
		var err error
		data, err = json.MarshalIndent(state, "", "\t")
		state.fail(err)
	})
	_, _ = w.Write(data) // a client that left is no error of ours
}

// serveWrite takes a peer's greeting, and says who heard it.
func (s *nettestServer) serveWrite(w http.ResponseWriter, r *http.Request) {
	var from greeting
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&from)
	s.change(func(state *nettestState) {
		state.fail(err)
		if from.Source == "" {
			state.fail(fmt.Errorf("%v: Got request with no source", state.Hostname))
		} else {
			state.Received[from.Source]++
		}
	})
	writeJSON(w, map[string]string{"Hostname": s.hostname()})
}

// greet posts to a peer's /write.
func (s *nettestServer) greet(ctx context.Context, peer string) {
	body, err := json.Marshal(greeting{Source: s.hostname(), Dest: "http://" + peer})
	if err == nil {
		body, err = s.post(ctx, "http://"+peer+"/write", body)
	}
	var answer struct{ Hostname string }
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		s.note("Warning: unable to contact the endpoint %q: %v", peer, err)
		return
	}
	s.change(func(state *nettestState) { state.Sent[answer.Hostname]++ })
}

// post sends JSON on a connection of its own.
func (p *program) post(ctx context.Context, url string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DialContext: p.Host.Dial, DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, 1<<16))
}

// change gives the state to one at a time.
func (s *nettestServer) change(f func(*nettestState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state)
}

func (s *nettestServer) note(format string, args ...any) {
	s.change(func(state *nettestState) { state.note(fmt.Sprintf(format, args...)) })
}

func (s *nettestState) note(line string) {
	s.Log = append(s.Log, line)
	s.Log = s.Log[max(0, len(s.Log)-longestNettestLog):]
}

func (s *nettestState) fail(err error) {
	if err == nil {
		return
	}
	s.Errors = append(s.Errors, err.Error())
	s.Errors = s.Errors[max(0, len(s.Errors)-longestNettestLog):]
}
