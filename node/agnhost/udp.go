package agnhost

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
)

// serveUDP answers commands in datagrams, on each address, until stop is called.
func (s *server) serveUDP(ctx context.Context, addresses []string, serving *sync.WaitGroup) (stop func(), err error) {
	var sockets []net.PacketConn
	stop = func() {
		for _, socket := range sockets {
			_ = socket.Close()
		}
	}
	if s.udpPort == -1 {
		return stop, nil
	}
	for _, address := range addresses {
		socket, err := s.Host.ListenPacket(ctx, "udp", net.JoinHostPort(address, strconv.Itoa(s.udpPort)), false)
		if err != nil {
			stop()
			return nil, err
		}
		sockets = append(sockets, socket)
		serving.Go(func() { s.answer(socket) })
	}
	return stop, nil
}

// answer answers until the socket is closed.
func (s *server) answer(socket net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		n, client, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		answer, known := s.command(string(buffer[:n]), client.String())
		if !known {
			s.log.Printf("Unknown UDP command received from %s: %q", client, buffer[:n])
			continue
		}
		_, _ = socket.WriteTo([]byte(answer), client) // the client will ask again
	}
}

// command is the answer to a datagram. Commands are in any case; an echo comes back in
// lower case, as upstream's.
func (s *server) command(text, client string) (answer string, known bool) {
	text = strings.TrimSpace(text)
	word, rest, _ := strings.Cut(text, " ")
	switch strings.ToLower(word) {
	case "hostname":
		return s.hostname(), rest == ""
	case "clientip":
		return client, rest == ""
	case "serverport":
		return strconv.Itoa(s.udpPort), rest == ""
	case "echo":
		return strings.ToLower(rest), rest != ""
	case "envvar":
		value, _ := s.variable(strings.TrimSpace(rest))
		return value, rest != ""
	}
	return "", false
}
