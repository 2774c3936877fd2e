package agnhost

import (
	"context"
	"fmt"
	"strings"
)

// These show a container's own files, to who runs them in it.

func dnsSuffix(_ context.Context, p *program) error {
	_, searches, err := p.resolvConf()
	return p.show(strings.Join(searches, ","), err)
}

func dnsServerList(_ context.Context, p *program) error {
	servers, _, err := p.resolvConf()
	return p.show(strings.Join(servers, ","), err)
}

func etcHosts(_ context.Context, p *program) error {
	text, err := p.read("/etc/hosts")
	return p.show(string(text), err)
}

func entrypointTester(_ context.Context, p *program) error {
	return p.show(fmt.Sprint(append([]string{"/agnhost", "entrypoint-tester"}, p.args...)), nil)
}

func (p *program) show(text string, err error) error {
	if err == nil {
		_, err = fmt.Fprintln(p.Stdout, text)
	}
	return err
}
