package flowtest

import (
	"context"
	"os"
	"strings"
	"testing"

	"orrery.example.org/host"
	"orrery.example.org/proxy/plan"
)

// Backend is what data planes have in common.
type Backend interface {
	Start(context.Context) error
	Full(context.Context, plan.Snapshot) (plan.Report, error)
	Change(context.Context, []plan.Change) (plan.Report, error)
	Intact(context.Context) (bool, error)
	Check(context.Context, plan.Snapshot) ([]string, error)
}

// Plane is a data plane under test. Its package calls Suite with it.
type Plane struct {
	Name    string // of the subtests
	Program string // without which the machine cannot have it
	New     func(*host.Host, Knobs) Backend
	// Small makes the transactions of a Backend as small as they may be.
	Small func(Backend)
	// Cleanup removes the rules of both families, whoever made them.
	Cleanup func(context.Context, *host.Host) error

	// Listing is the kernel's rules in an order of their own: two kernels that hold the
	// same have the same. Ours tells which lines of it are no other's.
	Listing func(testing.TB, *host.Host) []string
	Ours    string
	// Foreign are commands that make rules of somebody else's.
	Foreign []string

	// Expect gives the outcome of a flow where this plane has its own.
	Expect func(Flow) Outcome
	// Ping is what a ping of a ClusterIP gets.
	Ping Ping
	// LongMemory: session affinity lasts while the client has connections, also ended ones
	// that the kernel still keeps.
	LongMemory bool
	// Needs skips a test, or fails it, where the kernel lacks what the plane needs.
	Needs func(testing.TB)
	// ElsewhereToo: NodePorts answer on all addresses of the node, 127.0.0.1 included.
	ElsewhereToo bool
}

// Knobs are the settings that tests turn.
type Knobs struct {
	Family        plan.Family // "": IPv4
	MasqueradeAll bool
	NoLocalhost   bool // no NodePorts on 127.0.0.1
}

// Applied is a Backend at work in a place.
type Applied struct {
	Backend
	host *host.Host
}

// Start makes the plane's Backend for a place.
func (p Plane) Start(t testing.TB, h *host.Host, k Knobs) Applied {
	t.Helper()
	if k.Family == "" {
		k.Family = plan.IPv4
	}
	b := p.New(h, k)
	if c, ok := b.(interface{ Close() error }); ok {
		t.Cleanup(func() { _ = c.Close() })
	}
	if err := b.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return Applied{b, h}
}

// Sync brings the kernel to a snapshot, whatever it holds.
func (a Applied) Sync(t testing.TB, s plan.Snapshot) plan.Report {
	t.Helper()
	report, err := a.Full(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// Move goes from one snapshot to another as the sync loop does.
func (a Applied) Move(t testing.TB, from, to plan.Snapshot) {
	t.Helper()
	if _, err := a.Change(context.Background(), Changes(from, to)); err != nil {
		t.Fatal(err)
	}
}

// Holds fails the test unless the kernel holds exactly the snapshot, and unless the cheap
// check says so too.
func (a Applied) Holds(t testing.TB, s plan.Snapshot) {
	t.Helper()
	differences, err := a.Check(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(differences) > 0 {
		t.Errorf("the kernel differs from the plan:\n%s", strings.Join(differences, "\n"))
	}
	if ok, err := a.Intact(context.Background()); err != nil || !ok {
		t.Errorf("intact=%v, error %v", ok, err)
	}
}

// flows are those of a scenario, with this plane's outcomes.
func (p Plane) flows(s Scenario) []Flow {
	var all []Flow
	for _, f := range s.Flows {
		f.Want = p.expect(f)
		all = append(all, f)
	}
	return all
}

func (p Plane) expect(f Flow) Outcome {
	if p.Expect == nil {
		return f.Want
	}
	return p.Expect(f)
}

// Have skips a test where the machine lacks the plane, and fails it in CI.
func (p Plane) Have(t testing.TB) {
	t.Helper()
	Namespaces(t)
	if p.Needs != nil {
		p.Needs(t)
	}
	if _, err := host.LookPath(p.Program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// Run runs a program in a place, given as one line.
func Run(t testing.TB, h *host.Host, command string) string {
	t.Helper()
	args := strings.Fields(command)
	out, err := h.Command(context.Background(), args[0], args[1:]...).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return string(out)
}
