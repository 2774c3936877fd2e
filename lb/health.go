package lb

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"orrery.example.org/host"
	"orrery.example.org/lb/plan"
)

// firstRetry is how soon a target is asked again that has never been well: the port of a
// new Service opens when the nodes' proxies have heard of it. The delay doubles up to
// the interval.
const firstRetry = 50 * time.Millisecond

// thresholds say how many answers in a row change a target's health.
type thresholds struct{ healthy, unhealthy int }

// record is a target's health and what led to it.
type record struct {
	plan.Health
	streak int  // answers in a row that contradict it
	ever   bool // it was well once
}

// after is the record after one more answer. The first one counts at once.
func (r record) after(ok bool, why string, t thresholds) record {
	need := t.unhealthy
	if ok {
		need = t.healthy
	}
	if ok == r.OK {
		r.streak = 0
	} else {
		r.streak++
	}
	if !r.Known || r.streak >= need {
		r.Known, r.OK, r.streak = true, ok, 0
	}
	if r.ever = r.ever || r.OK; ok == r.OK {
		r.Why = why
	}
	return r
}

// checker asks targets for their health, each on its own schedule.
type checker struct {
	interval   time.Duration
	thresholds thresholds
	probe      func(context.Context, plan.Target) (ok bool, why string)
	changed    func() // a target's health has become another

	mu      sync.Mutex
	targets map[plan.Target]*target
	wg      sync.WaitGroup
}

type target struct {
	record record
	stop   context.CancelFunc
}

// watch has exactly these targets asked.
func (c *checker) watch(ctx context.Context, wanted map[plan.Target]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for address, t := range c.targets {
		if !wanted[address] {
			t.stop()
			delete(c.targets, address)
		}
	}
	for address := range wanted {
		if c.targets[address] != nil {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		t := &target{stop: stop}
		c.targets[address] = t
		c.wg.Go(func() { c.ask(ctx, address, t) })
	}
}

// ask asks one target until ctx ends.
func (c *checker) ask(ctx context.Context, address plan.Target, t *target) {
	for retry := firstRetry; ; {
		ok, why := c.probe(ctx, address)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		old := t.record
		t.record = old.after(ok, why, c.thresholds)
		now := t.record
		c.mu.Unlock()
		if now.Health != old.Health {
			c.changed()
		}
		wait := c.interval
		if !now.ever {
			wait, retry = min(retry, wait), 2*retry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// health is what is known of a target.
func (c *checker) health(address plan.Target) plan.Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.targets[address]; t != nil {
		return t.record.Health
	}
	return plan.Health{}
}

// close ends all checks and waits for them.
func (c *checker) close() {
	c.watch(context.Background(), nil)
	c.wg.Wait()
}

// httpProbe asks /healthz, as clouds do: 200 is well, anything else is not.
func httpProbe(h *host.Host, timeout time.Duration) func(context.Context, plan.Target) (bool, string) {
	client := &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true},
	}
	return func(ctx context.Context, address plan.Target) (bool, string) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/healthz", address), nil)
		if err != nil {
			return false, err.Error()
		}
		request.Header.Set("User-Agent", "orrery-lb")
		response, err := client.Do(request)
		if err != nil {
			return false, "it does not answer"
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
		return response.StatusCode == http.StatusOK, explain(response.StatusCode, body)
	}
}

// explain says an answer in words. The proxy's health check ports tell how many
// endpoints there are, its own /healthz does not.
func explain(status int, body []byte) string {
	var answer struct {
		LocalEndpoints *int `json:"localEndpoints"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.LocalEndpoints != nil {
		return fmt.Sprintf("%d: it has %d ready endpoints of the Service", status, *answer.LocalEndpoints)
	}
	return fmt.Sprintf("%d: %s", status, http.StatusText(status))
}
