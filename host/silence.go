package host

import (
	"context"
	"net"
	"os"
	"time"
)

// Who has several API servers to choose from must notice soon when the one he uses is gone
// without a word, as a paused machine or one behind a cut cable is. client-go takes 30
// seconds to give up a connection that is being made, and 45 for one that is there.

// dialTimeout is for all addresses of a name together: of three that are silent, each gets
// a third.
const dialTimeout = 6 * time.Second

// DialQuickly is for the Dial of a rest.Config whose server may have several addresses.
func DialQuickly(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
}

// NoticeSilence has the HTTP/2 connections of this process, those made from now on, asked
// for a sign of life after 3 seconds without any, and given up after 3 more. client-go
// can be told by these variables only; whoever has set them is heeded.
func NoticeSilence() {
	for _, name := range []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS", "HTTP2_PING_TIMEOUT_SECONDS"} {
		if _, ok := os.LookupEnv(name); !ok {
			_ = os.Setenv(name, "3") // fails for a bad name only
		}
	}
}
