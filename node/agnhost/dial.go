package agnhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// dialTime is how long netexec waits for an answer.
const dialTime = 5 * time.Second

// mostTries bounds what one request may ask for.
const mostTries = 1000

// dial asks another server, maybe several times, and tells what it answered.
func (s *server) dial(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	tries := 1
	if text := q.Get("tries"); text != "" {
		var err error
		if tries, err = strconv.Atoi(text); err != nil || tries > mostTries {
			http.Error(w, fmt.Sprintf("tries parameter is invalid. %q is not a number up to %d", text, mostTries), http.StatusBadRequest)
			return
		}
	}
	request := q.Get("request")
	if request == "" {
		http.Error(w, "request parameter not specified.", http.StatusBadRequest)
		return
	}
	var ask func(ctx context.Context, address, request string) (string, error)
	switch protocol := strings.ToLower(q.Get("protocol")); protocol {
	case "", "http":
		ask = s.askHTTP
	case "udp":
		ask = s.askUDP
	default:
		http.Error(w, "unsupported protocol. "+protocol, http.StatusBadRequest)
		return
	}
	address, err := s.resolve(r.Context(), q.Get("host"), q.Get("port"))
	if err != nil {
		http.Error(w, fmt.Sprintf("host and/or port param are invalid. %v", err), http.StatusBadRequest)
		return
	}
	answer := map[string][]string{}
	for range tries {
		ctx, cancel := context.WithTimeout(r.Context(), dialTime)
		response, err := ask(ctx, address, request)
		cancel()
		if err != nil {
			answer["errors"] = append(answer["errors"], err.Error())
		} else {
			answer["responses"] = append(answer["responses"], response)
		}
	}
	writeJSON(w, answer)
}

// askHTTP makes a request on a connection of its own.
func (p *program) askHTTP(ctx context.Context, address, request string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/"+request, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: p.Host.Dial, DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return string(body), err
}

// askUDP sends one datagram and waits for one.
func (p *program) askUDP(ctx context.Context, address, request string) (string, error) {
	conn, err := p.Host.Dial(ctx, "udp", address)
	if err != nil {
		return "", fmt.Errorf("udp dial failed. err:%w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // a socket just opened has deadlines
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", fmt.Errorf("udp connection write failed. err:%w", err)
	}
	answer := make([]byte, 2048)
	n, err := conn.Read(answer)
	if err != nil {
		return "", fmt.Errorf("reading from udp connection failed. err:'%w'", err)
	}
	return string(answer[:n]), nil
}

// resolve turns a name into an address, by the Pod's own resolver.
func (p *program) resolve(ctx context.Context, name, port string) (string, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("port %q: %w", port, err)
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return netip.AddrPortFrom(addr, uint16(n)).String(), nil
	}
	if name == "" || strings.ContainsAny(name, " /:") {
		return "", &url.Error{Op: "resolve", URL: name, Err: errors.New("not a host name")}
	}
	servers, searches, err := p.resolvConf()
	if err != nil {
		return "", err
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
		for _, server := range servers {
			if conn, err = p.Host.Dial(ctx, network, net.JoinHostPort(server, "53")); err == nil {
				return conn, nil
			}
		}
		return nil, errors.Join(err, errors.New("no nameserver"))
	}}
	if strings.HasSuffix(name, ".") {
		searches = nil
	}
	last := error(&net.DNSError{Err: "no such host", Name: name, IsNotFound: true})
	for _, domain := range append(searches, "") {
		full := strings.TrimSuffix(strings.TrimSuffix(name, ".")+"."+domain, ".") + "."
		addrs, err := resolver.LookupNetIP(ctx, "ip4", full)
		if err == nil {
			return netip.AddrPortFrom(addrs[0].Unmap(), uint16(n)).String(), nil
		}
		last = err
	}
	return "", last
}

// read reads a file of the container.
func (p *program) read(path string) ([]byte, error) {
	file, err := p.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// resolvConf reads the Pod's own /etc/resolv.conf.
func (p *program) resolvConf() (servers, searches []string, err error) {
	text, err := p.read("/etc/resolv.conf")
	for line := range strings.Lines(string(text)) {
		switch f := strings.Fields(line); {
		case len(f) > 1 && f[0] == "nameserver":
			servers = append(servers, f[1])
		case len(f) > 1 && f[0] == "search":
			searches = f[1:]
		}
	}
	return servers, searches, err
}
