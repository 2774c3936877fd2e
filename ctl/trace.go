package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"orrery.example.org/lab"
	"orrery.example.org/node/network"
	"orrery.example.org/proxy"
	"orrery.example.org/proxy/trace"
)

func newTraceCommand(f cmdutil.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace FROM TO",
		Short: "Follow a packet through the rules of a service proxy",
		Long: `Follow the first packet of a connection through the rules that the service proxy makes
of the cluster's Services: which endpoints its node may use and why not the others, which
rules it meets and why each of them matches, who gets it with what probability, and whose
address that one sees. Nothing is sent.

FROM is pod/NAME, node/NAME, outside (the lab's machine that is not in the cluster), or an
address. TO is service/NAME or service/NAME:PORT (its ClusterIP;
from outside its load balancer), pod/NAME:PORT,
node/NAME:PORT or ADDRESS:PORT. NAMESPACE/NAME works in place of NAME.`,
		Example: `  # Why does this Pod reach that one?
  ctl trace pod/client service/web

  # From outside, by the NodePort
  ctl trace outside node/node1:30080

  # From outside, by way of the load balancer
  ctl trace outside service/web

  # The same in another data plane, with the rules that did not match
  ctl trace pod/client service/web --proxy-mode nftables --all`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return ownError{fmt.Errorf("from where to where? For example: ctl trace pod/client service/web")}
			}
			return nil
		},
	}
	find := labFlag(cmd)
	defaults := proxy.Defaults()
	var all bool
	question := trace.Question{Settings: trace.Settings{
		MasqueradeBit: defaults.MasqueradeBit, PodInterface: network.BridgeName, Interface: "eth0",
	}}
	cmd.Flags().BoolVar(&all, "all", false, "tell the rules that did not match, too")
	cmd.Flags().StringVar(&question.Protocol, "protocol", "", "tcp, udp or sctp (default: that of the Service's port, else tcp)")
	cmd.Flags().StringVar(&question.At, "at", "", "the node whose rules a packet from outside meets (default: the one it is sent to, or the first that the load balancer may choose)")
	cmd.Flags().StringVar(&question.Settings.Mode, "proxy-mode", "", "iptables, nftables or ipvs (default: that of the node)")
	clusterCIDR := cmd.Flags().StringSlice("cluster-cidr", []string{defaults.ClusterCIDR, "fd00:10:244::/56"}, "the networks of the Pods, at most one per family")
	serviceCIDR := cmd.Flags().StringSlice("service-cidr", []string{defaults.ServiceCIDR, "fd00:10:96::/112"}, "the networks of the Services")
	cmd.RunE = own(func(cmd *cobra.Command, args []string) (err error) {
		q := question
		q.From, q.To = args[0], args[1]
		if err := fromLab(find, &q); err != nil {
			return err
		}
		if q.Settings.ClusterCIDRs, err = prefixes(*clusterCIDR); err != nil {
			return fmt.Errorf("--cluster-cidr: %w", err)
		}
		if q.Settings.ServiceCIDRs, err = prefixes(*serviceCIDR); err != nil {
			return fmt.Errorf("--service-cidr: %w", err)
		}
		if q.Namespace, _, err = f.ToRawKubeConfigLoader().Namespace(); err != nil {
			return err
		}
		client, err := f.KubernetesClientSet()
		if err != nil {
			return err
		}
		cluster, err := ask(cmd.Context(), client)
		if err != nil {
			return err
		}
		answer, err := trace.Run(cluster, q)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), answer.Text(all))
		return err
	})
	return cmd
}

func prefixes(texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// fromLab fills in what the lab knows and the API does not.
func fromLab(find func() (lab.State, error), q *trace.Question) error {
	state, err := running(find)
	if err == nil {
		var status lab.Status
		if status, err = state.Status(); err == nil {
			q.Modes, q.Forwards = modesOf(status), forwardsOf(status)
			for _, place := range status.Places {
				if place.Name == q.From && place.Name == lab.Outside {
					q.From = strings.Join(place.Addresses, ",")
				}
			}
		}
	}
	if q.From == lab.Outside {
		return fmt.Errorf("only a lab has a machine called %s; say its address: %w", lab.Outside, err)
	}
	return nil
}

// forwardsOf is what the lab's load balancer does.
func forwardsOf(s lab.Status) []trace.Forward {
	var all []trace.Forward
	for _, b := range s.LoadBalancers {
		port, protocol, _ := strings.Cut(b.Port, "/")
		to, err := netip.ParseAddrPort(net.JoinHostPort(b.Address, port))
		if err == nil {
			all = append(all, trace.Forward{To: to, Protocol: strings.ToLower(protocol), Nodes: b.Nodes, Excluded: b.Excluded})
		}
	}
	return all
}

// ask reads from the API what a trace depends on.
func ask(ctx context.Context, client kubernetes.Interface) (trace.Cluster, error) {
	var c trace.Cluster
	services, err := client.CoreV1().Services(corev1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return c, err
	}
	slices, err := client.DiscoveryV1().EndpointSlices(corev1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return c, err
	}
	pods, err := client.CoreV1().Pods(corev1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return c, err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return c, err
	}
	c.Services, c.Slices = pointers(services.Items), pointers(slices.Items)
	c.Pods, c.Nodes = pointers(pods.Items), pointers(nodes.Items)
	return c, nil
}

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}
