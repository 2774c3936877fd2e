package main

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// lookInterval is how often a configuration file is looked at.
const lookInterval = time.Second

// follow loads the configuration again on SIGHUP, and where the text of its file has
// changed, and sends what comes of it until ctx ends.
//
// It compares the text rather than waiting for an event of the file: editors replace
// files, and a mounted ConfigMap changes by a link two folders further up, so that the
// file that was watched is never written. CoreDNS's reload plugin compares too, every
// 30 s; SIGHUP is for who does not want to wait, and for what has changed elsewhere, such
// as a resolv.conf that the file names. CoreDNS takes SIGUSR1 for that.
func follow[C any](ctx context.Context, s *settings, defaults C) <-chan loaded[C] {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	reloads := make(chan loaded[C])
	go func() {
		defer close(reloads)
		defer signal.Stop(hangups)
		ticker := time.NewTicker(lookInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
			case <-ticker.C:
				// A file that is not there is about to be replaced, or else SIGHUP tells.
				text, err := os.ReadFile(*s.file)
				if err != nil || bytes.Equal(text, s.text) {
					continue
				}
			}
			next := loaded[C]{config: defaults}
			next.err = s.load(&next.config)
			select {
			case reloads <- next:
			case <-ctx.Done():
				return
			}
		}
	}()
	return reloads
}

// loaded is a configuration, or why there is none.
type loaded[C any] struct {
	config C
	err    error
}
