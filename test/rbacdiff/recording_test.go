package rbacdiff

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

const (
	policyFile  = "testdata/policy.json"
	answersFile = "testdata/answers.txt" // a line that names the questions, then one answer a line
)

// policyOf is the file with upstream's policy, written anew if upstream is there.
func policyOf(t *testing.T) string {
	if *upstream != "" {
		record(t, policyFile, ask(t, "policy", nil))
	}
	return policyFile
}

// answersOf are upstream's answers, by world and question.
func answersOf(t *testing.T, worlds []world) [][]answer {
	t.Helper()
	questions, err := json.Marshal(worlds)
	must(t, err)
	id := fmt.Sprintf("%x", sha256.Sum256(questions))
	if *upstream != "" {
		var live [][]answer
		must(t, json.Unmarshal(ask(t, "answer", questions), &live))
		text := bytes.NewBufferString(id + "\n")
		for _, answers := range live {
			for _, a := range answers {
				line, err := json.Marshal(a)
				must(t, err)
				text.Write(append(line, '\n'))
			}
		}
		record(t, answersFile, text.Bytes())
	}
	file, err := os.Open(answersFile)
	must(t, err)
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() || lines.Text() != id {
		t.Fatalf("%s answers other questions: run scripts/record-rbacdiff", answersFile)
	}
	all := make([][]answer, len(worlds))
	for i, w := range worlds {
		all[i] = make([]answer, len(w.Questions))
		for j := range all[i] {
			if !lines.Scan() {
				t.Fatalf("%s ends early: %v", answersFile, lines.Err())
			}
			must(t, json.Unmarshal(lines.Bytes(), &all[i][j]))
		}
	}
	return all
}

func record(t *testing.T, file string, data []byte) {
	must(t, os.MkdirAll("testdata", 0o755))
	must(t, os.WriteFile(file, data, 0o644))
}

// ask runs upstream.
func ask(t *testing.T, what string, input []byte) []byte {
	t.Helper()
	var complaint bytes.Buffer
	cmd := exec.CommandContext(t.Context(), *upstream, what)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", *upstream, what, err, &complaint)
	}
	return out
}
