// Package usage knows what nodes and Pods use: it looks at them and works out the rates.
//
// Upstream counterpart: metrics-server. In flow the nodes' /stats/summary, which say how
// much CPU time was used since the start; two looks at that give a rate. Out flow the
// objects of metrics.k8s.io. metrics-server looks every 15 seconds. Here nobody looks unless
// somebody asks: who is the first to ask for a while waits for the second look.
package usage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Between two looks.
const (
	shortest = time.Second
	longest  = time.Minute
)

// Summary is what is read here of a node's /stats/summary.
type Summary struct {
	Node struct {
		CPU    *cpuUsage    `json:"cpu"`
		Memory *memoryUsage `json:"memory"`
	} `json:"node"`
	Pods []struct {
		Ref struct {
			UID string `json:"uid"`
		} `json:"podRef"`
		Containers []containerUsage `json:"containers"`
	} `json:"pods"`
}

type containerUsage struct {
	Name   string       `json:"name"`
	Start  metav1.Time  `json:"startTime"`
	CPU    *cpuUsage    `json:"cpu"`    // nil: not known, nor is the memory
	Memory *memoryUsage `json:"memory"` // nil as well
}

type cpuUsage struct {
	Time  time.Time `json:"time"`
	Total uint64    `json:"usageCoreNanoSeconds"`
}

type memoryUsage struct {
	WorkingSet uint64 `json:"workingSetBytes"`
}

// Read reads what a node answers.
func Read(body io.Reader) (*Summary, error) {
	var s Summary
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		return nil, fmt.Errorf("read a summary: %w", err)
	}
	return &s, nil
}

// Meter remembers the last two looks at each node. The zero value has Ask to be set.
type Meter struct {
	Ask   func(ctx context.Context, node string) (*Summary, error)
	nodes sync.Map // name -> *looks
}

// looks are those at one node.
type looks struct {
	mu    sync.Mutex
	last  Looks
	taken time.Time
}

// Looks are two, a while apart.
type Looks struct{ Before, Now *Summary }

// Look returns the last two looks at a node, taking what is missing.
func (m *Meter) Look(ctx context.Context, node string) (Looks, error) {
	v, _ := m.nodes.LoadOrStore(node, &looks{})
	l := v.(*looks)
	l.mu.Lock()
	defer l.mu.Unlock()
	age := time.Since(l.taken)
	if age < shortest {
		return l.last, nil
	}
	before := l.last.Now
	if age > longest {
		var err error
		if before, err = m.Ask(ctx, node); err != nil {
			m.nodes.Delete(node)
			return Looks{}, err
		}
		select {
		case <-time.After(shortest):
		case <-ctx.Done():
			return Looks{}, ctx.Err()
		}
	}
	now, err := m.Ask(ctx, node)
	if err != nil {
		m.nodes.Delete(node)
		return Looks{}, err
	}
	l.last, l.taken = Looks{before, now}, time.Now()
	return l.last, nil
}
