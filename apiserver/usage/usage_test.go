package usage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// at is a summary of a node that has used so many seconds, with a Pod u1: its container
// main was started at the second 100, and built is a container of which nothing is known.
func at(t *testing.T, second int, node, main float64) *Summary {
	t.Helper()
	when := func(s int) string { return time.Unix(int64(s), 0).UTC().Format(time.RFC3339) }
	cpu := func(used float64) string {
		return fmt.Sprintf(`"cpu": {"time": %q, "usageCoreNanoSeconds": %d}, "memory": {"workingSetBytes": 2097152}`, when(second), int64(used*1e9))
	}
	s, err := Read(strings.NewReader(fmt.Sprintf(`{"node": {%s}, "pods": [{"podRef": {"uid": "u1"}, "containers": [
		{"name": "main", "startTime": %q, %s}, {"name": "built", "startTime": %q}]}]}`, cpu(node), when(100), cpu(main), when(100))))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRates(t *testing.T) {
	looks := Looks{at(t, 110, 1000, 5), at(t, 120, 1015, 7)}
	node := looks.Node(metav1.ObjectMeta{Name: "n"})
	if got := node.Usage.Cpu().MilliValue(); got != 1500 || node.Window.Duration != 10*time.Second || node.Usage.Memory().String() != "2Mi" {
		t.Errorf("the node uses %dm in %s and %s", got, node.Window.Duration, node.Usage.Memory())
	}
	pod := looks.Pod(metav1.ObjectMeta{Name: "p"}, "u1")
	if len(pod.Containers) != 1 || pod.Containers[0].Name != "main" || pod.Containers[0].Usage.Cpu().MilliValue() != 200 {
		t.Errorf("the Pod uses %v", pod.Containers)
	}
	if pod := looks.Pod(metav1.ObjectMeta{}, "u2"); pod != nil {
		t.Errorf("a Pod that the node does not know uses %v", pod)
	}
	// A container that the first look did not see has used all of it since its start.
	before := at(t, 110, 1000, 5)
	before.Pods = nil
	pod = Looks{before, at(t, 120, 1015, 7)}.Pod(metav1.ObjectMeta{}, "u1")
	if got := pod.Containers[0].Usage.Cpu().MilliValue(); got != 350 || pod.Window.Duration != 20*time.Second {
		t.Errorf("a new container uses %dm in %s", got, pod.Window.Duration)
	}
	// A node that does not say is left out.
	if node := (Looks{&Summary{}, &Summary{}}).Node(metav1.ObjectMeta{}); node != nil {
		t.Errorf("a silent node uses %v", node)
	}
}

// TestMeter asks again and again, and counts how often the node is asked.
func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, fails := 0, false
		m := Meter{Ask: func(context.Context, string) (*Summary, error) {
			if fails {
				return nil, errors.New("no answer")
			}
			asked++
			return &Summary{}, nil
		}}
		look := func(wait, takes time.Duration, want int) {
			t.Helper()
			time.Sleep(wait)
			begin := time.Now()
			l, err := m.Look(t.Context(), "n")
			if err != nil || l.Before == nil || l.Now == nil || l.Before == l.Now {
				t.Fatalf("looks %v, %v", l, err)
			}
			if asked != want || time.Since(begin) != takes {
				t.Errorf("after %s: asked %d times, took %s; want %d, %s", wait, asked, time.Since(begin), want, takes)
			}
		}
		look(0, time.Second, 2)              // the first waits for the second look
		look(100*time.Millisecond, 0, 2)     // what was seen a moment ago
		look(10*time.Second, 0, 3)           // against the last time
		look(10*time.Minute, time.Second, 5) // too long ago to say anything about now
		fails = true
		time.Sleep(time.Minute)
		if _, err := m.Look(t.Context(), "n"); err == nil {
			t.Error("no error")
		}
		fails = false
		look(0, time.Second, 7)
	})
}

func FuzzRead(f *testing.F) {
	f.Add(`{"node": {"cpu": {"usageCoreNanoSeconds": 18446744073709551615}}, "pods": [{"containers": [{"cpu": {}}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		looks := Looks{s, s}
		looks.Node(metav1.ObjectMeta{})
		for _, p := range s.Pods {
			looks.Pod(metav1.ObjectMeta{}, p.Ref.UID)
		}
	})
}
