package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"orrery.example.org/host"
)

// The other side of the lab's door (control.go): what ctl asks of a running lab.

// Status asks the running lab.
func (s State) Status() (Status, error) {
	var status Status
	return status, s.ask(http.MethodGet, "/status", &status)
}

// Place asks the running lab how to enter a place.
func (s State) Place(name string) (Place, error) {
	var p Place
	if err := s.ask(http.MethodGet, "/places/"+name, &p); err != nil {
		return p, err
	}
	// Entering the user namespace one is in already is an error; root's lab has none.
	theirs, err := os.Readlink(p.User)
	if err != nil {
		return p, fmt.Errorf("look at the lab's namespaces: %w", err)
	}
	if ours, _ := os.Readlink("/proc/self/ns/user"); ours == theirs {
		p.User = ""
	}
	return p, nil
}

// SetProxyMode has the running lab move the service proxy of a node to another mode.
func (s State) SetProxyMode(node, mode string) (ModeChange, error) {
	var change ModeChange
	return change, s.ask(http.MethodPut, "/nodes/"+url.PathEscape(node)+"/proxy-mode/"+url.PathEscape(mode), &change)
}

// patience is how long the lab may take for an answer. A change of the proxy mode takes
// minutes where there are thousands of Services.
var patience = map[string]time.Duration{http.MethodGet: 10 * time.Second, http.MethodPut: 10 * time.Minute}

func (s State) ask(method, path string, answer any) error {
	dir, err := os.Open(s.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	var here *host.Host
	client := &http.Client{
		Timeout: patience[method],
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return here.Dial(ctx, "unix", shortPath(dir, s.controlSocket()))
		}},
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequest(method, "http://lab"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask lab %q: %w", s.Name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return errors.New(strings.TrimSpace(string(text)))
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
