package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestPages types what pages of docs show, in a lab of their own, and compares the
// outputs. "…" stands for anything within a line, alone for any lines; spaces are as
// good as one. A command is repeated until its output is right, as a reader would.
func TestPages(t *testing.T) {
	bin := ctlDir(t)
	for _, page := range []string{"loadbalancer.md", "dns.md", "proxy-modes.md", "questions.md", "images.md", "pods.md"} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("../../docs", page))
			if err != nil {
				t.Fatal(err)
			}
			state, err := os.MkdirTemp(tempRoot(), "page")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cleanUp(t, state) })
			typed := func(command string) (string, error) {
				cmd := exec.Command("sh", "-c", command)
				cmd.Dir = "../.."
				cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+state,
					"XDG_STATE_HOME="+state, "XDG_CACHE_HOME="+filepath.Join(state, "cache"), "ORRERY_LAB=")
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			if out, err := typed("ctl up --api-port 0"); err != nil {
				t.Fatalf("ctl up: %v\n%s", err, out)
			}
			commands := consoleOf(string(text))
			if len(commands) == 0 {
				t.Fatal("the page shows no commands")
			}
			for _, c := range commands {
				c.check(t, typed)
			}
			if out, err := typed("ctl down"); err != nil {
				t.Fatalf("ctl down: %v\n%s", err, out)
			}
		})
	}
}

// shown is a command with the output that a page shows.
type shown struct{ command, output string }

// consoleOf reads the blocks marked as console.
func consoleOf(page string) []shown {
	var all []shown
	inside := false
	for line := range strings.Lines(page) {
		switch command, isCommand := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			inside = strings.TrimSpace(line) == "```console"
		case inside && isCommand:
			all = append(all, shown{command: strings.TrimSpace(command)})
		case inside:
			all[len(all)-1].output += line
		}
	}
	return all
}

func (s shown) check(t *testing.T, typed func(string) (string, error)) {
	t.Helper()
	want := pattern(s.output)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := typed(s.command)
		if want.MatchString(squeeze(out)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("$ %s\nprints (%v)\n%s\nand the page shows\n%s", s.command, err, out, s.output)
		}
	}
}

// pattern turns a shown output into a regular expression for a squeezed one.
func pattern(output string) *regexp.Regexp {
	var b strings.Builder
	for line := range strings.Lines(squeeze(output)) {
		if strings.TrimSpace(line) == "…" {
			b.WriteString(`(.*\n)*`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*"))
	}
	return regexp.MustCompile(fmt.Sprintf("^%s$", b.String()))
}

var spaces = regexp.MustCompile(`[ \t]+`)

// squeeze makes every run of spaces one, and removes those at the ends of lines.
func squeeze(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimSpace(spaces.ReplaceAllString(line, " ")) + "\n")
	}
	return b.String()
}

func TestPattern(t *testing.T) {
	for _, row := range []struct {
		shown, printed string
		want           bool
	}{
		{"NAME   AGE\n", "NAME AGE\n", true},
		{"a.c\n", "abc\n", false},
		{"port …/TCP\n", "port 80/TCP\n", true},
		{"port …/TCP\n", "port 80/UDP\n", false},
		{"a\n…\nz\n", "a\nb\nc\nz\n", true},
		{"a\n…\nz\n", "a\nz\n", true},
		{"a\n", "a\nb\n", false},
		{"", "a\n", false},
	} {
		if got := pattern(row.shown).MatchString(squeeze(row.printed)); got != row.want {
			t.Errorf("%q shown, %q printed: %t", row.shown, row.printed, got)
		}
	}
}
