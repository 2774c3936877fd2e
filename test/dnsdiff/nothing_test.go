package dnsdiff

import (
	"context"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// serveNothing sends every query back as its own reply, from two sockets: what dnsperf, the
// kernel and a Go program cost before anybody has thought about a name.
func serveNothing(ctx context.Context, port int) error {
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		controlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		if controlErr != nil {
			return controlErr
		}
		return err
	}}
	var sockets errgroup.Group
	for range 2 {
		socket, err := shared.ListenPacket(ctx, "udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = socket.Close() })
		sockets.Go(func() error {
			buf := make([]byte, 512)
			for {
				n, from, err := socket.(*net.UDPConn).ReadFromUDPAddrPort(buf)
				if err != nil {
					return nil // closed: that is the end
				}
				const response = 0x80
				buf[2] |= response
				_, _ = socket.(*net.UDPConn).WriteToUDPAddrPort(buf[:n], from)
			}
		})
	}
	return sockets.Wait()
}
