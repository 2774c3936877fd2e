package workload

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Web is a web server with one page, which says which Pod answered.
type Web struct {
	Title  string
	Server string // the Server header
	// logLine is the access log's format.
	logLine func(r *http.Request, client string, at time.Time, status, size int) string
}

// The two web servers, each with its own page and log format.
var (
	Nginx = Web{"Welcome to nginx!", "nginx", func(r *http.Request, client string, at time.Time, status, size int) string {
		return commonLog(r, client, at, status, size) + fmt.Sprintf(" %s %s %s",
			quoted(r.Referer()), quoted(r.UserAgent()), quoted(r.Header.Get("X-Forwarded-For")))
	}}
	Httpd = Web{"It works!", "Apache", commonLog}
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
		status, body := http.StatusOK, web.page(c, client)
		if r.URL.Path != "/" && r.URL.Path != "/index.html" {
			status, body = http.StatusNotFound, "<html><head><title>404 Not Found</title></head></html>\n"
		}
		w.Header().Set("Server", web.Server)
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, body) // a client that left is no error of ours
		}
		fmt.Fprintln(c.Stdout, web.logLine(r, client, time.Now(), status, len(body)))
	}))
}

func (web Web) page(c *Container, client string) string {
	return fmt.Sprintf("<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<p>Pod %s (%s) on %s answers %s.</p>\n",
		web.Title, web.Title, html.EscapeString(c.Pod.Name), c.PodIP, html.EscapeString(c.Node), client)
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
