package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orrery.example.org/host"
	"orrery.example.org/node/workload"
)

// probe runs check at the probe's pace until ctx ends and tells result whenever the
// verdict changes. The verdict is ok at first as given, and turns after
// successThreshold or failureThreshold results in a row. When result returns false
// the probing ends.
func probe(ctx context.Context, p *corev1.Probe, ok bool, check func(context.Context) error, result func(ok bool, why error) bool) {
	if sleep(ctx, seconds(p.InitialDelaySeconds, 0)) != nil {
		return
	}
	inARow := int32(0) // results that contradict the verdict
	for {
		checkCtx, cancel := context.WithTimeout(ctx, seconds(p.TimeoutSeconds, 1))
		err := check(checkCtx)
		cancel()
		if ctx.Err() != nil {
			return
		}
		threshold := max(p.SuccessThreshold, 1)
		if ok {
			threshold = p.FailureThreshold
			if threshold == 0 {
				threshold = 3
			}
		}
		if (err == nil) == ok {
			inARow = 0
		} else if inARow++; inARow >= threshold {
			ok, inARow = !ok, 0
			if !result(ok, err) {
				return
			}
		}
		if sleep(ctx, seconds(p.PeriodSeconds, 10)) != nil {
			return
		}
	}
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func seconds(n, fallback int32) time.Duration {
	if n == 0 {
		n = fallback
	}
	return time.Duration(n) * time.Second
}

// prober makes the requests of probes: from the node, so that they cross the Pod's
// network as kubelet's do.
type prober struct {
	node  *host.Host
	podIP string
	run   *run
}

// check makes one try. As upstream's, an HTTPS probe trusts any certificate.
func (p *prober) check(ctx context.Context, handler *corev1.Probe, spec *corev1.Container) error {
	switch {
	case handler.HTTPGet != nil:
		return p.get(ctx, handler.HTTPGet, spec)
	case handler.TCPSocket != nil:
		address, err := p.address(handler.TCPSocket.Host, handler.TCPSocket.Port, spec)
		if err != nil {
			return err
		}
		conn, err := p.node.Dial(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	case handler.GRPC != nil:
		return p.askHealth(ctx, handler.GRPC, seconds(handler.TimeoutSeconds, 1))
	case handler.Exec != nil:
		return p.exec(ctx, handler.Exec.Command)
	default:
		return errors.New("a probe needs one of httpGet, tcpSocket, grpc and exec")
	}
}

func (p *prober) get(ctx context.Context, get *corev1.HTTPGetAction, spec *corev1.Container) error {
	status, err := p.request(ctx, get, spec)
	if err == nil && (status < 200 || status >= 400) {
		err = fmt.Errorf("HTTP probe failed with statuscode: %d", status)
	}
	return err
}

// request makes a request and returns the answer's status.
func (p *prober) request(ctx context.Context, get *corev1.HTTPGetAction, spec *corev1.Container) (int, error) {
	address, err := p.address(get.Host, get.Port, spec)
	if err != nil {
		return 0, err
	}
	target, err := url.Parse(get.Path) // it may carry a query
	if err != nil {
		return 0, err
	}
	target.Scheme, target.Host = strings.ToLower(string(get.Scheme)), address
	if target.Scheme == "" {
		target.Scheme = "http"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("User-Agent", "kube-probe/1.37")
	for _, h := range get.HTTPHeaders {
		request.Header.Set(h.Name, h.Value)
		if strings.EqualFold(h.Name, "Host") {
			request.Host = h.Value
		}
	}
	transport := &http.Transport{DialContext: p.node.Dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{Transport: transport, CheckRedirect: stayHere}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, 10<<10) // so that the server need not notice a reset
	return response.StatusCode, nil
}

// stayHere follows redirects within the probed server; one to another counts as success.
func stayHere(next *http.Request, before []*http.Request) error {
	if next.URL.Host != before[0].URL.Host || len(before) >= 10 {
		return http.ErrUseLastResponse
	}
	return nil
}

func (p *prober) exec(ctx context.Context, argv []string) error {
	output, err := p.run.exec(ctx, argv...)
	if ctx.Err() != nil {
		return errors.New("command timed out")
	}
	if exit := (workload.Exit{}); errors.As(err, &exit) {
		return errors.New(string(output))
	}
	return err
}

// address is where a probe goes to. A port may be the name of a containerPort.
func (p *prober) address(ip string, port intstr.IntOrString, spec *corev1.Container) (string, error) {
	if ip == "" {
		ip = p.podIP
	}
	number := port.IntVal
	if port.Type == intstr.String {
		for _, candidate := range spec.Ports {
			if candidate.Name == port.StrVal {
				number = candidate.ContainerPort
			}
		}
		if n, err := strconv.Atoi(port.StrVal); err == nil {
			number = int32(n)
		}
	}
	if number < 1 || number > 65535 {
		return "", fmt.Errorf("invalid port number: %v", port.String())
	}
	return net.JoinHostPort(ip, strconv.Itoa(int(number))), nil
}
