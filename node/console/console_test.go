package console

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func open(t *testing.T, stdin bool) *Console {
	t.Helper()
	return newConsole(t, filepath.Join(t.TempDir(), "0.log"), Limits{}, stdin, true)
}

func newConsole(t *testing.T, path string, limits Limits, stdin, once bool) *Console {
	t.Helper()
	log, err := CreateLog(path, limits)
	if err != nil {
		t.Fatal(err)
	}
	return New(log, stdin, once)
}

func read(t *testing.T, l *Log, o corev1.PodLogOptions) string {
	t.Helper()
	var out strings.Builder
	if err := l.Read(t.Context(), &o, time.Now(), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTheFileIsInCRIFormat(t *testing.T) {
	c := open(t, false)
	fmt.Fprint(c.Stdout(), "a\nb")
	fmt.Fprint(c.Stderr(), "oops\n")
	fmt.Fprint(c.Stdout(), "c\n", strings.Repeat("x", maxLine+1), "\nend")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(c.Log.path)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z `).ReplaceAllString(string(data), "")
	want := "stdout F a\nstderr F oops\nstdout F bc\nstdout P " + strings.Repeat("x", maxLine) + "\nstdout F x\nstdout P end\n"
	if text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	if got, want := read(t, c.Log, corev1.PodLogOptions{}), "a\noops\nbc\n"+strings.Repeat("x", maxLine+1)+"\nend"; got != want {
		t.Errorf("read as %q, want %q", got, want)
	}
}

func TestReadOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, false)
		begin := time.Now()
		for _, line := range []string{"one", "two", "three"} {
			fmt.Fprintln(c.Stdout(), line)
			time.Sleep(time.Minute)
		}
		fmt.Fprintln(c.Stderr(), "oops")
		for name, row := range map[string]struct {
			options corev1.PodLogOptions
			want    string
		}{
			"all":               {corev1.PodLogOptions{}, "one\ntwo\nthree\noops\n"},
			"tail":              {corev1.PodLogOptions{TailLines: ptr.To(int64(2))}, "three\noops\n"},
			"no tail":           {corev1.PodLogOptions{TailLines: ptr.To(int64(0))}, ""},
			"more than all":     {corev1.PodLogOptions{TailLines: ptr.To(int64(9))}, "one\ntwo\nthree\noops\n"},
			"since seconds":     {corev1.PodLogOptions{SinceSeconds: ptr.To(int64(90))}, "three\noops\n"},
			"since time":        {corev1.PodLogOptions{SinceTime: ptr.To(metav1.NewTime(begin.Add(time.Minute)))}, "two\nthree\noops\n"},
			"limit":             {corev1.PodLogOptions{LimitBytes: ptr.To(int64(6))}, "one\ntw"},
			"stderr":            {corev1.PodLogOptions{Stream: ptr.To(corev1.LogStreamStderr)}, "oops\n"},
			"all streams":       {corev1.PodLogOptions{Stream: ptr.To(corev1.LogStreamAll)}, "one\ntwo\nthree\noops\n"},
			"tail of old lines": {corev1.PodLogOptions{TailLines: ptr.To(int64(2)), SinceSeconds: ptr.To(int64(30))}, "oops\n"},
			"timestamps":        {corev1.PodLogOptions{Timestamps: true, TailLines: ptr.To(int64(1))}, time.Now().UTC().Format(time.RFC3339Nano) + " oops\n"},
		} {
			if got := read(t, c.Log, row.options); got != row.want {
				t.Errorf("%s: %q, want %q", name, got, row.want)
			}
		}
	})
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, false)
		fmt.Fprintln(c.Stdout(), "before")
		r, w := io.Pipe()
		go func() {
			w.CloseWithError(c.Log.Read(t.Context(), &corev1.PodLogOptions{Follow: true}, time.Now(), w))
		}()
		for _, line := range []string{"before\n", "after\n"} {
			got := make([]byte, len(line))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != line {
				t.Fatalf("got %q, %v; want %q", got, err, line)
			}
			synctest.Wait() // the reader waits for the next line
			fmt.Fprintln(c.Stdout(), "after")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "after\n" {
			t.Errorf("until the end: %q, %v", rest, err)
		}
	})
}

// TestRotation writes lines of some 50 bytes to files of 200.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "0.log")
		c := newConsole(t, path, Limits{Size: 200, Files: 3}, false, false)
		var followed strings.Builder
		ended := make(chan error, 1)
		go func() { ended <- c.Log.Read(t.Context(), &corev1.PodLogOptions{Follow: true}, time.Now(), &followed) }()
		var all strings.Builder
		for i := range 40 {
			synctest.Wait() // the reader has read it all
			fmt.Fprintf(io.MultiWriter(c.Stdout(), &all), "line %2d of many\n", i)
		}
		newest := read(t, c.Log, corev1.PodLogOptions{})
		if !strings.HasSuffix(all.String(), newest) || !strings.Contains(newest, "line 39") || len(newest) > 200 {
			t.Errorf("the newest file has %q", newest)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil || followed.String() != all.String() {
			t.Errorf("a follower got %q, %v; want %q", followed.String(), err, all.String())
		}
		files, err := filepath.Glob(path + "*")
		if err != nil || len(files) != 3 {
			t.Errorf("files %v, %v", files, err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.Size() > 200 || info.Size() < 100 {
				t.Errorf("%s: %v, %v", file, info.Size(), err)
			}
		}
		RemoveLog(path)
		if files, _ := filepath.Glob(path + "*"); len(files) != 0 {
			t.Errorf("left over: %v", files)
		}
	})
}

// TestRotationDuringAWrite follows without waiting for the reader: it may fall behind and
// miss files that are gone, but never reads a line twice or in disorder.
func TestRotationDuringAWrite(t *testing.T) {
	c := newConsole(t, filepath.Join(t.TempDir(), "0.log"), Limits{Size: 500, Files: 2}, false, false)
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(c.Log.Read(t.Context(), &corev1.PodLogOptions{Follow: true}, time.Now(), w))
	}()
	go func() {
		for i := range 2000 {
			fmt.Fprintln(c.Stdout(), i)
		}
		_ = c.Close()
	}()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, line := range strings.Fields(string(data)) {
		n, err := strconv.Atoi(line)
		if err != nil || n <= last {
			t.Fatalf("%q after %d", line, last)
		}
		last = n
	}
	if last != 1999 {
		t.Errorf("the last line is %d", last)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Log.Read(ctx, &corev1.PodLogOptions{Follow: true}, time.Now(), io.Discard); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, true)
		fmt.Fprintln(c.Stdout(), "missed")
		var out, errOut strings.Builder
		attached := make(chan error, 1)
		go func() { attached <- c.Attach(t.Context(), strings.NewReader("typed"), &out, &errOut, nil) }()
		typed, err := io.ReadAll(c.Stdin()) // ends with the client's input: stdinOnce
		if err != nil || string(typed) != "typed" {
			t.Errorf("stdin %q, %v", typed, err)
		}
		synctest.Wait()
		fmt.Fprint(c.Stdout(), "no newline yet")
		fmt.Fprint(c.Stderr(), "oops")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-attached; err != nil || out.String() != "no newline yet" || errOut.String() != "oops" {
			t.Errorf("attached client got %q and %q, %v", out.String(), errOut.String(), err)
		}
	})
}

func TestAttachWithoutStdin(t *testing.T) {
	c := open(t, false)
	defer c.Close()
	if err := c.Attach(t.Context(), strings.NewReader("x"), nil, nil, nil); err == nil {
		t.Error("typed into a container without stdin")
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.6Z stdout F text\n"))
	f.Add([]byte("2026-01-02T03:04:05Z stderr P \n"))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if e, ok := parseEntry(line); ok && e.at.IsZero() && len(e.stamp) == 0 {
			t.Errorf("%q was taken for an entry", line)
		}
	})
}
