// Package apidiff asks kube-apiserver 1.37 and ours the same requests. Every difference
// between their answers is either a defect or in the list of differences_test.go, with
// its reason; a reason that no answer needs any longer is an error, too.
//
// Requests come in groups (groups_test.go lists them); those of a group build on each
// other. What each server chooses for itself (uids, times, addresses) is given names, see
// normal_test.go; everything else must be the same: status, headers and body.
//
// What upstream answers is recorded in testdata, so that the comparison takes seconds and
// nobody has to build Kubernetes for it. A recording also says what it was asked, and the
// test fails where that is no longer what we ask. scripts/record-apidiff builds the real
// server (from the module upstream/ below; nothing of it is linked here), runs it beside
// ours on 127.0.0.1, compares with its present answers and records them:
//
//	go test ./test/apidiff
//	scripts/record-apidiff
package apidiff

import (
	"flag"
	"slices"
	"strings"
	"testing"
)

var (
	program = flag.String("upstream", "", "the real API server, built from upstream/: compare with it instead of the recording")
	record  = flag.Bool("record", false, "record what the real one answers")
)

// TestSameAnswers asks both servers everything and explains every difference.
func TestSameAnswers(t *testing.T) {
	ours := startOurs(t)
	var theirs *server
	if *program != "" {
		theirs = startTheirs(t, *program)
	}
	ran, asked, differing, explained := 0, 0, 0, make([]int, len(differences))
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			ran++
			g.requests = append(slices.Clone(prologue), g.requests...)
			want := expected(t, theirs, g)
			for i, got := range ask(t, ours, g) {
				asked++
				changes := differs(want[i], got)
				if len(changes) > 0 {
					differing++
				}
				var defects []string
				for _, c := range changes {
					if d := explain(g, g.requests[i], c); d >= 0 {
						explained[d]++
					} else {
						defects = append(defects, c.String())
					}
				}
				if len(defects) > 0 {
					t.Errorf("%s\n%s", g.requests[i], strings.Join(defects, "\n"))
				}
			}
		})
	}
	t.Logf("%d requests, %d of which are answered differently", asked, differing)
	for i, d := range differences {
		t.Logf("%5d times: %s", explained[i], d.reason)
		if explained[i] == 0 && ran == len(groups) && !t.Failed() {
			t.Errorf("a difference that there is no longer: %s", d.reason)
		}
	}
}

// prologue begins every group: its namespace, and what a controller would put there.
var prologue = []request{
	post("/api/v1/namespaces", `{metadata: {name: $ns}}`),
	post("@serviceaccounts", `{metadata: {name: default}}`),
}

// expected is what the real server answers, or has answered.
func expected(t *testing.T, theirs *server, g group) []answer {
	if theirs != nil {
		answers := ask(t, theirs, g)
		if *record {
			must(t, writeRecording(g.name, g.requests, answers))
		}
		return answers
	}
	recording, err := readRecording(g.name)
	must(t, err)
	var answers []answer
	for i, r := range g.requests {
		if i >= len(recording) || recording[i].request != r.String() {
			t.Fatalf("the recording is of other requests (scripts/record-apidiff renews it): %s", r)
		}
		answers = append(answers, recording[i].answer)
	}
	if len(recording) > len(answers) {
		t.Fatalf("the recording has more requests than we ask (scripts/record-apidiff renews it): %s", recording[len(answers)].request)
	}
	return answers
}

// explain finds the difference that a change is an example of, or -1.
func explain(g group, r request, c change) int {
	return slices.IndexFunc(differences, func(d difference) bool { return d.applies(g, r, c) })
}
