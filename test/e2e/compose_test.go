package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dockerScript stands in for the docker of a reader who types "docker compose": it is
// Debian's docker-compose, or what ORRERY_TEST_COMPOSE names, and nobody sits at a terminal.
const dockerScript = `#!/bin/sh
[ "$1" = compose ] || exec /usr/bin/docker "$@"
shift
if [ "$1" = exec ]; then shift; set -- exec -T "$@"; fi
exec ${ORRERY_TEST_COMPOSE:-docker-compose} "$@"
`

// checkout is what a clone has of use for docker compose, with the binary that is built.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(ctlDir(t), "ctl")
	for _, c := range [][]string{
		{"cp", "-r", "../../Dockerfile", "../../.dockerignore", "../../docker-compose.yml", "../../docker-compose.ha.yml", "../../configs", "../../scripts", dir},
		{"rm", "-f", filepath.Join(dir, "configs/compose/kubeconfig")},
		{"mkdir", filepath.Join(dir, "bin")},
		{"cp", bin, filepath.Join(dir, "bin/ctl")},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/docker"), []byte(dockerScript), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestCompose types docs/lab.md and docs/ha.md, the exercises with the cluster in
// containers, from the first start to the end that leaves nothing.
func TestCompose(t *testing.T) {
	dir := checkout(t)
	e := startEngine(t)
	e.env = append(e.env, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"),
		"HOME="+dir, "CTL=bin/ctl", "BASE_IMAGE=orrery-base", "GO_IMAGE=orrery-base")
	e.importBase("orrery-base")
	e.must(dir, "docker compose build apiserver")
	size, err := strconv.Atoi(strings.TrimSpace(e.must(dir, "docker image inspect -f '{{.Size}}' orrery")))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the image has %d MB", size/1e6)
	if size > 250e6 {
		t.Errorf("the image has %d MB, more than 250", size/1e6)
	}
	for _, page := range []string{"lab.md", "ha.md"} {
		t.Run(page, func(t *testing.T) { exercise(t, e, dir, page) })
	}
}

// exercise types a page.
func exercise(t *testing.T, e *engine, dir, name string) {
	page, err := os.ReadFile(filepath.Join("../../docs", name))
	if err != nil {
		t.Fatal(err)
	}
	typed := func(command string) (string, error) { return e.run(dir, command) }
	var up time.Time
	for _, c := range consoleOf(string(page)) {
		began := time.Now()
		if up.IsZero() && strings.HasSuffix(c.command, " up -d") {
			up = began
		}
		c.check(t, typed)
		if c.command == "curl -s http://127.0.0.1:30000 | grep Pod" { // after the load balancer and the DNS
			t.Logf("from docker compose up -d to a Service that answers: %.1f s", time.Since(up).Seconds())
		}
		t.Logf("%6.1f s  $ %s", time.Since(began).Seconds(), c.command)
		if strings.HasPrefix(c.command, "docker compose stop proxy1") { // everything has run for a while
			if used := e.anonymous() / 1024; used > 400 {
				t.Errorf("the containers use %d MiB of their own, more than 400", used)
			} else {
				t.Logf("the containers use %d MiB of their own", used)
			}
		}
	}
}
