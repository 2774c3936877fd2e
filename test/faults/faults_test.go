// Package faults breaks an API server while clients use it, and looks at what they
// were promised: what was acknowledged is there, watches neither miss nor repeat, who
// asks nonsense gets an error, and who does harm is cut off at bounded cost.
//
// The server is a process of its own (this test binary, run again), so that it can be
// killed and its memory seen.
package faults

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/apiserver"
	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// The environment variables that make this binary a server: where its data is, which
// port it listens on, and how many MiB its disk has, if it is to have one of its own.
const (
	dirVariable  = "ORRERY_FAULTS_DIR"
	portVariable = "ORRERY_FAULTS_PORT"
	diskVariable = "ORRERY_FAULTS_DISK"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		if err := serve(dir, os.Getenv(portVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve is the child's whole life. It ends when its parent does.
func serve(dir, port string) error {
	ca, err := pki.LoadOrCreateCA(dir, "kubernetes")
	if err != nil {
		return err
	}
	serving, err := ca.Issue(pki.Request{User: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		return err
	}
	listener, err := (*host.Host)(nil).Listen(context.Background(), "tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	config := apiserver.Defaults()
	config.BindAddress, config.Listeners, config.AdvertiseAddress = "", []net.Listener{listener}, "172.30.0.2:6443"
	config.Etcd.DataDir = filepath.Join(dir, dataDir)
	if size := os.Getenv(diskVariable); size != "" {
		if err := mountDisk(config.Etcd.DataDir, size); err != nil {
			return err
		}
	}
	config.CA, config.Serving = ca, serving
	config.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	server, err := apiserver.New(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		commands := bufio.NewScanner(os.Stdin)
		for commands.Scan() { // the only one there is: give back what memory you don't need
			debug.FreeOSMemory()
			fmt.Println("freed")
		}
	}()
	go func() {
		<-server.Ready()
		fmt.Println("serving", listener.Addr().(*net.TCPAddr).Port)
	}()
	return server.Run(ctx)
}

// server is a running child.
type server struct {
	t      *testing.T
	dir    string
	port   string
	disk   int // MiB of its own; 0: none
	admin  *rest.Config
	cmd    *host.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Scanner
}

// start runs a server on a free port until the test ends.
func start(t *testing.T, dir string) *server { return startOn(t, dir, 0) }

// startOn gives it a disk of some MiB of its own, unless that is 0.
func startOn(t *testing.T, dir string, disk int) *server {
	t.Helper()
	ca, err := pki.LoadOrCreateCA(dir, "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, port: "0", disk: disk}
	s.boot()
	pair, err := ca.Issue(pki.Admin)
	if err != nil {
		t.Fatal(err)
	}
	s.admin = pki.ClientConfig("https://127.0.0.1:"+s.port, ca, pair)
	s.admin.QPS = -1
	t.Cleanup(s.kill)
	return s
}

// boot starts the process and waits until it serves; again on the same data and port
// after kill.
func (s *server) boot() {
	t := s.t
	t.Helper()
	s.cmd = (*host.Host)(nil).Command(context.Background(), os.Args[0])
	s.cmd.Env = append(os.Environ(), dirVariable+"="+s.dir, portVariable+"="+s.port)
	if s.disk > 0 {
		s.cmd.Env = append(s.cmd.Env, diskVariable+"="+strconv.Itoa(s.disk))
		s.cmd.SysProcAttr = ownMounts()
	}
	s.cmd.Stderr = os.Stderr
	stdin, err := s.cmd.StdinPipe() // closed with us: no server outlives its test
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.stdin, s.stdout = stdin, bufio.NewScanner(stdout)
	if s.port = strings.TrimPrefix(s.read("serving "), "serving "); s.port == "" {
		t.Fatal("the server did not start")
	}
}

// read waits for a line that begins so, "" if the process ends first.
func (s *server) read(prefix string) string {
	for s.stdout.Scan() {
		if strings.HasPrefix(s.stdout.Text(), prefix) {
			return s.stdout.Text()
		}
	}
	return ""
}

// kill ends the process as a power loss would.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *server) client() *kubernetes.Clientset { return kubernetes.NewForConfigOrDie(s.admin) }

// tls is what a client needs that speaks less than HTTP.
func (s *server) tls() *tls.Config {
	s.t.Helper()
	config, err := rest.TLSConfigFor(s.admin)
	if err != nil {
		s.t.Fatal(err)
	}
	config.ServerName = "127.0.0.1"
	return config
}

// resident is the process's memory in MiB, after it has given back what it can.
func (s *server) resident() int {
	t := s.t
	t.Helper()
	if _, err := io.WriteString(s.stdin, "free\n"); err != nil {
		t.Fatal(err)
	}
	if s.read("freed") == "" {
		t.Fatal("the server is gone")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib >> 10
		}
	}
	t.Fatal("no RssAnon in the process's status")
	return 0
}

// alive fails the test unless the server still does what it is there for.
func (s *server) alive() {
	s.t.Helper()
	if err := roundTrip(s.t.Context(), s.client()); err != nil {
		s.t.Errorf("the server no longer serves: %v", err)
	}
}
