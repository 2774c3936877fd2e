package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const dataDir = "etcd"

// ownMounts puts a process into a mount namespace of its own, where it may mount.
func ownMounts() *syscall.SysProcAttr {
	if os.Getuid() == 0 {
		return &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
}

// mountDisk gives the directory a file system of so many MiB.
func mountDisk(dir, size string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+"m"); err != nil {
		return fmt.Errorf("mount a disk: %w", err)
	}
	return nil
}

// TestFullDisk fills the disk under a server that is written to. Writes fail and say
// why, reads and watches go on; when there is space again so do writes, and nothing that
// was acknowledged is lost.
func TestFullDisk(t *testing.T) {
	if err := mayMount(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("this user may not mount: %v", err)
	}
	s := startOn(t, t.TempDir(), 320)
	disk := fmt.Sprintf("/proc/%d/root%s", s.cmd.Process.Pid, filepath.Join(s.dir, dataDir))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := &writers{}
	w.run(ctx, s)
	w.await(ctx, t, "writes", func() bool { return len(w.acknowledged) > 100 })

	filler := filepath.Join(disk, "filler")
	if err := fill(filler); err != nil {
		t.Fatal(err)
	}
	w.await(ctx, t, "a refusal", func() bool { return w.refused != nil })
	var status apierrors.APIStatus
	if !errors.As(w.refusal(), &status) || status.Status().Code < 500 || !strings.Contains(w.refusal().Error(), "free") {
		t.Errorf("writes are refused with %v", w.refusal())
	}
	t.Logf("refused: %v", w.refusal())
	if _, err := s.client().CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("reads don't go on: %v", err)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	had := w.count()
	w.await(ctx, t, "writes to go on", func() bool { return len(w.acknowledged) > had+100 })
	w.stop()
	list, err := s.client().CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, c := range list.Items {
		there[c.Name] = true
	}
	for _, name := range w.acknowledged {
		if !there[name] {
			t.Errorf("%s was acknowledged and is gone", name)
		}
	}
}

// mayMount says whether this user gets a mount namespace.
func mayMount() error {
	p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Sys: ownMounts()})
	if err == nil {
		_, err = p.Wait()
	}
	return err
}

// fill makes a file of all that is free.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, zeros{})
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// writers create objects without a pause.
type writers struct {
	end context.CancelFunc
	wg  sync.WaitGroup

	mu           sync.Mutex
	acknowledged []string
	refused      error // the last refusal
}

func (w *writers) run(ctx context.Context, s *server) {
	ctx, w.end = context.WithCancel(ctx)
	maps := s.client().CoreV1().ConfigMaps("default")
	for id := range 4 {
		w.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("w%d-%d", id, i)}, Data: map[string]string{"x": strings.Repeat("x", 1000)}}
				_, err := maps.Create(ctx, c, metav1.CreateOptions{})
				if ctx.Err() != nil {
					return
				}
				w.mu.Lock()
				if err == nil {
					w.acknowledged = append(w.acknowledged, c.Name)
				} else {
					w.refused = err
				}
				w.mu.Unlock()
				if err != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
}

func (w *writers) stop() { w.end(); w.wg.Wait() }

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged)
}

func (w *writers) refusal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

func (w *writers) await(ctx context.Context, t *testing.T, what string, reached func() bool) {
	t.Helper()
	for ctx.Err() == nil {
		w.mu.Lock()
		ok := reached()
		w.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("no %s; last error: %v", what, w.refusal())
}
