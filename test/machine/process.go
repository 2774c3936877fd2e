package machine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"orrery.example.org/host"
)

// Process is a program at work on a Machine.
type Process struct {
	m      *Machine
	cmd    *host.Cmd
	stderr bytes.Buffer
	ended  bool
}

// Start runs a program until the test ends, or somebody ends it.
func (m *Machine) Start(command ...string) *Process {
	m.Helper()
	p := &Process{m: m, cmd: m.Place.Command(context.Background(), command[0], command[1:]...)}
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		err := p.end(os.Interrupt)
		if m.Failed() {
			m.Logf("%s: %v: %s", strings.Join(command, " "), err, p.stderr.Bytes()[max(0, p.stderr.Len()-2000):])
		}
	})
	return p
}

// Kill ends it without a warning.
func (p *Process) Kill() { _ = p.end(syscall.SIGKILL) }

func (p *Process) end(signal os.Signal) error {
	if p.ended {
		return nil
	}
	p.ended = true
	_ = p.cmd.Process.Signal(signal)
	return p.cmd.Wait()
}

// CPU is what it and the programs it ran have used.
func (p *Process) CPU() time.Duration {
	stat := p.proc("stat")
	var ticks int
	for _, field := range strings.Fields(stat[strings.LastIndexByte(stat, ')'):])[12:16] { // utime, stime, cutime, cstime
		n, _ := strconv.Atoi(field)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// ReportMemory reports what it occupies, and what of it is not the pages of a file such as
// the binary, in MB.
func (p *Process) ReportMemory(b *testing.B, at string) {
	for line := range strings.Lines(p.proc("status")) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f", &kB); n == 1 {
			b.ReportMetric(kB/1024, "MB-"+at)
		}
		if n, _ := fmt.Sscanf(line, "RssAnon: %f", &kB); n == 1 {
			b.ReportMetric(kB/1024, "MB-anonymous-"+at)
		}
	}
}

func (p *Process) proc(file string) string {
	p.m.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		p.m.Fatal(err)
	}
	return string(text)
}
