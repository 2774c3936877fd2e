package node

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"orrery.example.org/node/sandbox"
)

// A program may say why it ends, in a file that its container's terminationMessagePath
// names. It becomes the message of the state Terminated. Upstream's limits.
const (
	longestMessage  = 4096 // bytes
	longestLogTail  = 2048 // of the log, which may stand in for the file
	logTailMaxLines = 80
)

// terminationFile is where the file lies on the node.
func (c *container) terminationFile() string {
	return filepath.Join(c.pod.dir(), "termination", c.spec.Name)
}

// makeTerminationFile makes it, empty, for whoever the program runs as.
func (c *container) makeTerminationFile() error {
	path := c.terminationFile()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return err
	}
	return os.Chmod(path, 0o666) // whatever the umask is
}

// terminationMount shows it in the container.
func (c *container) terminationMount() []sandbox.Mount {
	if c.spec.TerminationMessagePath == "" {
		return nil
	}
	return []sandbox.Mount{{Source: c.terminationFile(), Target: c.spec.TerminationMessagePath}}
}

// lastWords is what a program said about its end, or where it may, and failed, the last
// lines of its log. "" if nothing.
func (c *container) lastWords(r *run, failed bool) string {
	said := ""
	if file, err := os.Open(c.terminationFile()); err == nil && r.builtIn == nil {
		defer file.Close()
		text, _ := io.ReadAll(io.LimitReader(file, longestMessage)) // what can be read of it
		said = string(text)
	}
	if said != "" || !failed || c.spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError {
		return said
	}
	var tail strings.Builder
	err := r.console.Log.Read(context.Background(), &corev1.PodLogOptions{TailLines: ptr.To[int64](logTailMaxLines)}, time.Now(), &tail)
	if err != nil {
		return ""
	}
	text := tail.String()
	return text[max(0, len(text)-longestLogTail):]
}
