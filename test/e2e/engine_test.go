package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engine is a Docker daemon in network, mount and PID namespaces of its own, so that
// this machine gets no bridge, rule or firewall policy of it, and all that it started
// ends with it.
type engine struct {
	t      *testing.T
	dir    string // its data, and its socket
	cgroup string
	init   int // its process, on this machine
	env    []string
}

// baseVersion is to be changed with what newBase makes: the result is cached.
const baseVersion = "1"

// programs are what the tests with an engine need beside it.
var programs = []string{"dockerd", "docker-compose", "mmdebstrap", "nsenter", "unshare"}

// startEngine starts a daemon that ends with the test, or with this process.
func startEngine(t *testing.T) *engine {
	t.Helper()
	missing := ""
	if os.Geteuid() != 0 {
		missing = "root"
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = p
		}
	}
	if missing != "" {
		if os.Getenv("CI") != "" {
			t.Fatalf("a container engine of our own needs %s", missing)
		}
		t.Skipf("a container engine of our own needs %s", missing)
	}
	dir, err := os.MkdirTemp("/var/tmp", "orrery-engine") // on a disk: overlays do not nest
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, dir: dir, cgroup: filepath.Base(dir)}
	script := `mount --make-rprivate / && mount -t tmpfs tmpfs /run && ip link set lo up && exec dockerd --data-root "$0/data" \
		--exec-root /run/docker --pidfile /run/docker.pid -H "unix://$0/docker.sock" --cgroup-parent "/$1" --group root --log-level error`
	cmd := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, dir, e.cgroup)
	log := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	runtime.LockOSThread() // Pdeathsig is for the death of this thread
	t.Cleanup(runtime.UnlockOSThread)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // and with it all of the namespace
		_ = cmd.Wait()
		e.remove()
		if t.Failed() {
			t.Logf("dockerd: %s", log)
		}
	})
	e.env = append(os.Environ(), "DOCKER_HOST=unix://"+dir+"/docker.sock", "COMPOSE_DOCKER_CLI_BUILD=0", "DOCKER_BUILDKIT=0", "COMPOSE_PROJECT_NAME=orrery")
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		e.init, _ = strconv.Atoi(strings.TrimSpace(string(children)))
		if _, err := e.run("", "docker version"); err == nil && e.init > 0 {
			return e
		}
		if time.Now().After(deadline) {
			t.Fatal("the engine does not start")
		}
	}
}

// run runs a command where the engine publishes ports: in its network.
func (e *engine) run(dir, command string) (string, error) {
	argv := []string{"sh", "-c", command}
	if e.init > 0 {
		argv = append([]string{"nsenter", "--net", "--target", strconv.Itoa(e.init), "timeout", "-k", "5", "120"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, e.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (e *engine) must(dir, command string) string {
	e.t.Helper()
	out, err := e.run(dir, command)
	if err != nil {
		e.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}

// remove removes what outlives the processes. Those end a moment after they were killed.
func (e *engine) remove() {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		left := e.cgroups()
		for _, dir := range slices.Backward(left) { // leaves first
			_ = os.Remove(dir)
		}
		err := os.RemoveAll(e.dir)
		if err == nil && len(e.cgroups()) == 0 {
			return
		}
		if time.Now().After(deadline) {
			e.t.Errorf("the engine leaves %v, %v", e.cgroups(), err)
			return
		}
	}
}

// cgroups are the engine's, parents before children.
func (e *engine) cgroups() (dirs []string) {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		roots, _ := filepath.Glob(pattern + e.cgroup)
		for _, root := range roots {
			_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
		}
	}
	return dirs
}

// anonymous is the memory of all containers' processes that is nobody else's, in KiB.
func (e *engine) anonymous() (sum int) {
	statuses, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range statuses {
		groups, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cgroup"))
		if !bytes.Contains(groups, []byte("/"+e.cgroup+"/")) {
			continue
		}
		status, _ := os.ReadFile(file)
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "RssAnon:" {
				kib, _ := strconv.Atoi(f[1])
				sum += kib
			}
		}
	}
	return sum
}

// importBase gives the engine a small Debian with the packages of the Dockerfile, since
// no registry can be asked for one. Making it takes half a minute, so it is kept.
func (e *engine) importBase(name string) {
	e.t.Helper()
	options := []string{"--variant=minbase", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
		"--include=usr-is-merged,iptables,nftables,conntrack,iproute2,iputils-ping,curl,bind9-dnsutils,tcpdump",
		`--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*`}
	for _, dir := range []string{"man", "doc", "locale", "info"} { // as the slim images do
		options = append(options, "--dpkgopt=path-exclude=/usr/share/"+dir+"/*")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		e.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(baseVersion + strings.Join(options, " ")))
	file := filepath.Join(cache, "orrery-test", fmt.Sprintf("base-%x.tar", sum[:6]))
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			e.t.Fatal(err)
		}
		half := file + ".half.tar"
		out, err := exec.Command("mmdebstrap", append(options, "bookworm", half)...).CombinedOutput()
		if err == nil {
			err = os.Rename(half, file)
		}
		if err != nil {
			e.t.Fatalf("make a base image: %v\n%s", err, out)
		}
	}
	e.must("", "docker import "+file+" "+name)
}
