package workload

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// Pause does nothing until it is stopped.
func Pause(ctx context.Context, c *Container) error {
	c.Ready()
	<-ctx.Done()
	return nil
}

// Echo answers with the request as it arrived and the client's address as the Pod
// sees it, which shows where a packet was translated on its way. HTTP on the TCP
// ports; on declared UDP ports each datagram is answered likewise.
func Echo(ctx context.Context, c *Container) error {
	var sockets []net.PacketConn
	closeAll := func() {
		for _, s := range sockets {
			_ = s.Close()
		}
	}
	defer closeAll()
	for _, port := range Ports(c.Spec, corev1.ProtocolUDP, 0) {
		// Bound to the Pod's addresses, so that the answer leaves from where the question went.
		for _, ip := range c.PodIPs {
			s, err := c.Host.ListenPacket(ctx, "udp", net.JoinHostPort(ip, strconv.Itoa(int(port))), false)
			if err != nil {
				return err
			}
			sockets = append(sockets, s)
		}
	}
	var answering sync.WaitGroup
	defer answering.Wait()
	defer closeAll()
	for _, s := range sockets {
		answering.Go(func() { echoDatagrams(s, c) })
	}
	if len(sockets) > 0 && len(Ports(c.Spec, corev1.ProtocolTCP, 0)) == 0 {
		return Pause(ctx, c) // a UDP-only container
	}
	return serveHTTP(ctx, c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := httputil.DumpRequest(r, true)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(c.Stdout, "%s %s %s\n", r.RemoteAddr, r.Method, r.URL.RequestURI())
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, identity(c, r.RemoteAddr)+strings.ReplaceAll(string(request), "\r\n", "\n"))
	}))
}

// echoDatagrams answers until the socket is closed.
func echoDatagrams(s net.PacketConn, c *Container) {
	buffer := make([]byte, 1<<16)
	for {
		n, client, err := s.ReadFrom(buffer)
		if err != nil {
			return
		}
		fmt.Fprintf(c.Stdout, "%s UDP %d bytes\n", client, n)
		_, _ = s.WriteTo(append([]byte(identity(c, client.String())), buffer[:n]...), client)
	}
}

// identity says who answers and whom, in the words of the image traefik/whoami.
func identity(c *Container, client string) string {
	return fmt.Sprintf("Hostname: %s\nIP: %s\nNode: %s\nRemoteAddr: %s\n", c.Pod.Name, strings.Join(c.PodIPs, "\nIP: "), c.Node, client)
}
