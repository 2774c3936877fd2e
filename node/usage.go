package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/node/sandbox"
	"orrery.example.org/node/server"
)

// Summary implements server.Backend. Of built-in programs it is not known what they use:
// they are goroutines of the agent, among others. What is run beside them is counted.
func (n *Node) Summary(context.Context) (*server.Summary, error) {
	now := metav1.Now()
	machine, err := machineUsage(readOrEmpty("/proc/stat"), readOrEmpty("/proc/meminfo"))
	if err != nil {
		return nil, err
	}
	processes, err := sandbox.Usages()
	if err != nil {
		return nil, fmt.Errorf("look at the processes: %w", err)
	}
	s := &server.Summary{Pods: []server.PodStats{}, Node: server.NodeStats{NodeName: n.cfg.Name, Usage: server.UsageOf(now, machine.CPU, machine.Memory)}}
	for _, p := range n.running() {
		stats := server.PodStats{Ref: server.PodRef{Name: p.latest().Name, Namespace: p.latest().Namespace, UID: string(p.uid)}, Start: p.started}
		var sum sandbox.Usage
		any := false
		for _, c := range p.containers() {
			state := c.current().State.Running
			if state == nil {
				continue
			}
			one := server.ContainerStats{Name: c.spec.Name, Start: state.StartedAt}
			if used, known := c.usage(processes); known {
				one.Usage = server.UsageOf(now, used.CPU, used.Memory)
				any = true
				sum = sandbox.Usage{CPU: sum.CPU + used.CPU, Memory: sum.Memory + used.Memory}
			}
			stats.Containers = append(stats.Containers, one)
		}
		if any {
			stats.Usage = server.UsageOf(now, sum.CPU, sum.Memory)
		}
		s.Pods = append(s.Pods, stats)
	}
	return s, nil
}

// running are the Pods that have a sandbox.
func (n *Node) running() (all []*pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		if p.sandbox() != nil {
			all = append(all, p)
		}
	}
	return all
}

// usage is what the processes of a container use, if it has any.
func (c *container) usage(processes map[string]sandbox.Usage) (used sandbox.Usage, known bool) {
	r := c.presentRun()
	if r == nil {
		return used, false
	}
	r.entering.Lock()
	defer r.entering.Unlock()
	if r.place == nil || r.left {
		return used, false
	}
	namespace, err := r.place.MountNS()
	if err != nil {
		return used, false
	}
	used, known = processes[namespace]
	return used, known
}

// machineUsage reads /proc/stat and /proc/meminfo: a node's usage is its machine's, as its
// capacity is.
func machineUsage(stat, meminfo string) (u sandbox.Usage, err error) {
	fields := strings.Fields(firstLine(stat))
	if len(fields) < 9 || fields[0] != "cpu" {
		return u, errors.New("/proc/stat does not begin with the processors' times")
	}
	for i, text := range fields[1:9] { // user nice system idle iowait irq softirq steal
		ticks, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != 3 && i != 4 {
			u.CPU += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	kilobytes := map[string]int64{}
	for line := range strings.Lines(meminfo) {
		name, rest, _ := strings.Cut(line, ":")
		if text := strings.Fields(rest); len(text) > 0 {
			kilobytes[name], _ = strconv.ParseInt(text[0], 10, 64)
		}
	}
	if kilobytes["MemTotal"] == 0 {
		return u, errors.New("/proc/meminfo has no MemTotal")
	}
	u.Memory = (kilobytes["MemTotal"] - kilobytes["MemAvailable"]) << 10
	return u, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
