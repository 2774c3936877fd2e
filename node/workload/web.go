package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Web is a web server with one page, which says which Pod answered. Where the container
// has a volume in the image's document root, it serves those files instead.
type Web struct {
	Title  string
	Server string // the Server header
	Root   string // the document root
	// logLine is the access log's format.
	logLine func(r *http.Request, client string, at time.Time, status, size int) string
}

// The two web servers, each with its own page and log format.
var (
	Nginx = Web{"Welcome to nginx!", "nginx", "/usr/share/nginx/html", func(r *http.Request, client string, at time.Time, status, size int) string {
		return commonLog(r, client, at, status, size) + fmt.Sprintf(" %s %s %s",
			quoted(r.Referer()), quoted(r.UserAgent()), quoted(r.Header.Get("X-Forwarded-For")))
	}}
	Httpd = Web{"It works!", "Apache", "/usr/local/apache2/htdocs", commonLog}
)

// commonLog is the Common Log Format, which both servers begin a line with.
func commonLog(r *http.Request, client string, at time.Time, status, size int) string {
	return fmt.Sprintf("%s - - [%s] %q %d %d", client, at.Format("02/Jan/2006:15:04:05 -0700"),
		r.Method+" "+r.URL.RequestURI()+" "+r.Proto, status, size)
}

func quoted(s string) string {
	if s == "" {
		s = "-"
	}
	return strconv.Quote(s)
}

// Serve is the Workload. It listens on the container's declared TCP ports, or on
// 80 where none is declared.
//
// Kubernetes: containerPorts are information only and the image decides. Built-in
// servers have no configuration file, so the declaration is how to move one.
func (web Web) Serve(ctx context.Context, c *Container) error {
	return serveHTTP(ctx, c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := hostOf(r.RemoteAddr)
		status, kind, body := web.answer(c, r.URL.Path, client)
		w.Header().Set("Server", web.Server)
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, body) // a client that left is no error of ours
		}
		fmt.Fprintln(c.Stdout, web.logLine(r, client, time.Now(), status, len(body)))
	}))
}

// answer is what a path leads to: a file of a volume, or the one page.
func (web Web) answer(c *Container, path, client string) (status int, kind, body string) {
	path = filepath.Clean("/" + path)
	if path == "/" {
		path = "/index.html"
	}
	if web.hasFiles(c.Spec.VolumeMounts) {
		if data, err := readFile(c, web.Root+path); err == nil {
			return http.StatusOK, cmp.Or(mime.TypeByExtension(filepath.Ext(path)), "application/octet-stream"), string(data)
		}
	} else if path == "/index.html" {
		return http.StatusOK, "text/html", web.page(c, client)
	}
	return http.StatusNotFound, "text/html", "<html><head><title>404 Not Found</title></head></html>\n"
}

// hasFiles says whether a volume is mounted on, above or in the document root.
func (web Web) hasFiles(mounts []corev1.VolumeMount) bool {
	return slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool {
		path := strings.TrimSuffix(m.MountPath, "/") + "/"
		return strings.HasPrefix(web.Root+"/", path) || strings.HasPrefix(path, web.Root+"/")
	})
}

func readFile(c *Container, path string) ([]byte, error) {
	f, err := c.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func (web Web) page(c *Container, client string) string {
	return fmt.Sprintf("<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<p>Pod %s (%s) on %s answers %s.</p>\n",
		web.Title, web.Title, html.EscapeString(c.Pod.Name), c.PodIPs[0], html.EscapeString(c.Node), client)
}

// serveHTTP serves on every port of the container until ctx ends.
func serveHTTP(ctx context.Context, c *Container, handler http.Handler) error {
	listeners, err := listen(ctx, c)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, len(listeners))
	var serving sync.WaitGroup
	for _, ln := range listeners {
		serving.Go(func() { failed <- server.Serve(ln) })
	}
	c.Ready()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	_ = server.Close() // the listeners are closed twice where Serve failed
	serving.Wait()
	return err
}

// listen opens the container's TCP ports in the Pod.
func listen(ctx context.Context, c *Container) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, port := range Ports(c.Spec, corev1.ProtocolTCP, 80) {
		ln, err := c.Host.Listen(ctx, "tcp", ":"+strconv.Itoa(int(port)))
		if err != nil {
			for _, ln := range listeners {
				err = errors.Join(err, ln.Close())
			}
			return nil, err
		}
		listeners = append(listeners, ln)
	}
	return listeners, nil
}

// Ports lists the declared ports of a protocol, or fallback where none is declared
// (0: none).
func Ports(spec corev1.Container, protocol corev1.Protocol, fallback int32) []int32 {
	var ports []int32
	for _, p := range spec.Ports {
		if p.Protocol == protocol || p.Protocol == "" && protocol == corev1.ProtocolTCP {
			ports = append(ports, p.ContainerPort)
		}
	}
	if len(ports) == 0 && fallback != 0 {
		ports = []int32{fallback}
	}
	return ports
}

func hostOf(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}
