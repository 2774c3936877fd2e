package agnhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// serveHostname answers everything with the Pod's host name.
func serveHostname(ctx context.Context, p *program) error {
	port := p.flags.Int("port", 9376, "Port number.")
	tcp := p.flags.Bool("tcp", false, "Serve raw over TCP.")
	udp := p.flags.Bool("udp", false, "Serve raw over UDP.")
	web := p.flags.Bool("http", true, "Serve HTTP.")
	shut := p.flags.Bool("close", false, "Close connection per each HTTP request.")
	if err := p.parse(0); err != nil {
		return err
	}
	if *web && (*tcp || *udp) {
		return errors.New("--tcp and --udp go with --http=false only")
	}
	address := ":" + strconv.Itoa(*port)
	var serving sync.WaitGroup
	defer serving.Wait()
	if *tcp || *web {
		ln, err := p.Host.Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer ln.Close()
		if *web {
			server := p.nameServer(*shut)
			defer server.Close()
			serving.Go(func() { _ = server.Serve(ln) }) // until it is closed
		} else {
			serving.Go(func() { p.tellStreams(ln) })
		}
	}
	if *udp {
		socket, err := p.Host.ListenPacket(ctx, "udp", address, false)
		if err != nil {
			return err
		}
		defer socket.Close()
		serving.Go(func() { p.tellDatagrams(socket) })
	}
	p.log.Printf("Serving on port %d.", *port)
	p.Ready()
	<-ctx.Done()
	return nil
}

func (p *program) nameServer(shut bool) *http.Server {
	return &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.log.Printf("HTTP request from %s", r.RemoteAddr)
		if shut {
			w.Header().Add("Connection", "close")
		}
		fmt.Fprint(w, p.hostname())
	})}
}

// tellStreams answers connections until the listener is closed.
func (p *program) tellStreams(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		p.log.Printf("TCP request from %s", conn.RemoteAddr())
		_, _ = io.WriteString(conn, p.hostname()) // a client that left is no error of ours
		_ = conn.Close()
	}
}

// tellDatagrams answers until the socket is closed.
func (p *program) tellDatagrams(socket net.PacketConn) {
	for {
		_, client, err := socket.ReadFrom(make([]byte, 16))
		if err != nil {
			return
		}
		p.log.Printf("UDP request from %s", client)
		_, _ = socket.WriteTo([]byte(p.hostname()), client)
	}
}
