package apidiff

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The recording of a group is a text of paragraphs: the request, the status, a header per
// line, and the body.

type recorded struct {
	request string
	answer  answer
}

func recordingOf(group string) string { return filepath.Join("testdata", group+".txt") }

func writeRecording(group string, requests []request, answers []answer) error {
	var b strings.Builder
	for i, a := range answers {
		fmt.Fprintf(&b, "%s\n%d\n", requests[i], a.Status)
		for _, name := range keys(a.Header, nil) {
			fmt.Fprintf(&b, "%s: %s\n", name, a.Header[name])
		}
		fmt.Fprintf(&b, "%s\n\n", encode(a.Body))
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		return err
	}
	return os.WriteFile(recordingOf(group), []byte(b.String()), 0o644)
}

func readRecording(group string) ([]recorded, error) {
	file, err := os.Open(recordingOf(group))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 64<<20)
	var all []recorded
	var paragraph []string
	for scanner.Scan() {
		if scanner.Text() != "" {
			paragraph = append(paragraph, scanner.Text())
			continue
		}
		r, err := parseParagraph(paragraph)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		all = append(all, r)
		paragraph = nil
	}
	return all, scanner.Err()
}

func parseParagraph(lines []string) (recorded, error) {
	if len(lines) < 3 {
		return recorded{}, fmt.Errorf("a paragraph is too short: %q", lines)
	}
	r := recorded{request: lines[0], answer: answer{Header: map[string]string{}}}
	var err error
	if r.answer.Status, err = strconv.Atoi(lines[1]); err != nil {
		return r, err
	}
	for _, line := range lines[2 : len(lines)-1] {
		name, value, _ := strings.Cut(line, ": ")
		r.answer.Header[name] = value
	}
	r.answer.Body, err = decode([]byte(lines[len(lines)-1]))
	return r, err
}
