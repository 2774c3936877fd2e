package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"orrery.example.org/host"
	"orrery.example.org/pki"
)

// The three networks, beside the node network in fabric.go.
var (
	podNetwork        = netip.MustParsePrefix("10.244.0.0/16")
	serviceNetwork    = netip.MustParsePrefix("10.96.0.0/12")
	kubernetesService = netip.MustParseAddr("10.96.0.1")
	dnsService        = netip.MustParseAddr("10.96.0.10")
	apiAddress        = netip.AddrPortFrom(controlPlaneAddress, 6443)
)

const clusterDomain = "cluster.local"

// servingRequest lists the names and addresses under which clients know the API.
func (c Config) servingRequest() pki.Request {
	r := pki.Request{
		User: "kube-apiserver",
		DNS: []string{"localhost", controlPlane, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc." + clusterDomain},
		IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, a := range slices.Concat(c.addresses(controlPlaneAddress), families(c, kubernetesService, kubernetesService6)) {
		r.IPs = append(r.IPs, a.AsSlice())
	}
	return r
}

// listenLoopback opens the API's listener on this machine. A default port that is
// taken is replaced by a free one; one that was asked for is not.
func listenLoopback(ctx context.Context, c Config) (net.Listener, error) {
	var here *host.Host
	ln, err := here.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", c.APIPort))
	if errors.Is(err, syscall.EADDRINUSE) && !c.ExplicitPort {
		slog.Info("the API's port is taken, choosing a free one", "port", c.APIPort)
		ln, err = here.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d on 127.0.0.1 is taken by another program: choose another --api-port, or leave it out to get a free one", c.APIPort)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	return ln, nil
}

// portNote says why the API is not where one would look for it.
func (c *cluster) portNote() string {
	if c.config.APIPort == 0 || strings.HasSuffix(c.url, fmt.Sprintf(":%d", c.config.APIPort)) {
		return ""
	}
	return fmt.Sprintf(" (port %d is taken)", c.config.APIPort)
}

func (c *cluster) logger(component string) *slog.Logger {
	return slog.Default().With("component", component)
}

// checkPrograms looks for what the lab runs, so that a missing one is named at once.
func (c Config) checkPrograms() error {
	programs := [][2]string{{"nft", "nftables"}}
	for _, iptables := range families(c, "iptables", "ip6tables") {
		for _, suffix := range []string{"", "-restore", "-save"} {
			programs = append(programs, [2]string{iptables + suffix, "iptables"})
		}
	}
	var missing []string
	for _, p := range programs {
		if _, err := host.LookPath(p[0]); err != nil {
			missing = append(missing, fmt.Sprintf("%s (Debian's package %s)", p[0], p[1]))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the lab needs programs that are not installed: %s", strings.Join(missing, ", "))
	}
	return nil
}

// denied explains an error that may be about privileges.
func denied(doing string, err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSPC) { // ENOSPC: no more user namespaces
		return &permissionError{fmt.Sprintf("%s: %v\n%s", doing, err, permissionAdvice())}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// permissionAdvice says what keeps this user from making namespaces, as far as the
// system tells.
func permissionAdvice() string {
	setting := func(name string) string {
		b, _ := os.ReadFile("/proc/sys/" + name)
		return strings.TrimSpace(string(b))
	}
	switch {
	case setting("user/max_user_namespaces") == "0":
		return "User namespaces are switched off. As root: sysctl user.max_user_namespaces=15000"
	case setting("kernel/unprivileged_userns_clone") == "0":
		return "User namespaces are for root only here. As root: sysctl kernel.unprivileged_userns_clone=1"
	case setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor takes the capabilities away in user namespaces. As root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give this program a profile with `userns,`"
	}
	return "The lab needs network namespaces: run it as root, or as a user who may make user namespaces (in a container: with CAP_SYS_ADMIN or a seccomp profile that allows unshare)."
}
