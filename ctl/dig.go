package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"orrery.example.org/ctl/dig"
	"orrery.example.org/host"
	"orrery.example.org/lab"
)

// digOptions are the flags of ctl dig.
type digOptions struct {
	from, server, domain, output string
	here                         bool // we are where the question is asked, with its resolv.conf
}

func newDigCommand(f cmdutil.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dig NAME [TYPE]",
		Short: "Find a name as a Pod does, and show every step",
		Long: `Ask the cluster's DNS for a name as a Pod's resolver does: with the Pod's search list and
ndots, one name after the other, until one is found. Shown are each question in its order,
the answer, and the objects that the answer was made of (Service, EndpointSlice, Pod), or
what it lacks. A dot at the end of NAME makes it complete; an address asks for its name.

Without --from, it asks as a Pod of the namespace (-n) would that has no DNS settings of
its own: from the lab's first node or, with --server, from here.`,
		Example: `  # How does the Pod "client" find the Service "web"?
  ctl dig web --from pod/client

  # The ports of a Service, as SRV records
  ctl dig _http._tcp.web SRV

  # Whose address is that?
  ctl dig 10.96.0.1

  # Any other server, with the objects of the cluster that the kubeconfig names
  ctl dig web.default.svc --server 127.0.0.1:5353 -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return ownError{errors.New("which name? For example: ctl dig web.default SRV --from pod/client")}
			}
			return nil
		},
	}
	find := labFlag(cmd)
	var o digOptions
	cmd.Flags().StringVar(&o.from, "from", "", "the place in the lab to ask from: pod/NAME, pod/NAMESPACE/NAME or a node")
	cmd.Flags().StringVar(&o.server, "server", "", "the server to ask, IP or IP:PORT, instead of the one that the resolv.conf names")
	cmd.Flags().StringVar(&o.domain, "domain", "cluster.local", "the cluster's domain, where no resolv.conf says it")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json, or nothing for text")
	cmd.Flags().BoolVar(&o.here, "here", false, "ask from this network, by its resolv.conf")
	_ = cmd.Flags().MarkHidden("here")
	cmd.RunE = own(func(cmd *cobra.Command, args []string) error {
		question, err := dig.ParseQuestion(args[0], strings.Join(args[1:], ""))
		if err != nil {
			return err
		}
		if err := o.check(); err != nil {
			return err
		}
		namespace, _, err := f.ToRawKubeConfigLoader().Namespace()
		if err != nil {
			return err
		}
		if !o.here && (o.from != "" || o.server == "") {
			return o.enterLab(cmd, find, f, args, namespace)
		}
		result, err := o.ask(cmd.Context(), f, question, namespace)
		if err != nil {
			return err
		}
		return o.print(cmd, result)
	})
	return cmd
}

// check looks at the flags.
func (o *digOptions) check() error {
	if o.output != "" && o.output != "json" {
		return fmt.Errorf("--output is %q: it can be json, or be left out", o.output)
	}
	if strings.Trim(o.domain, ".") == "" {
		return errors.New("--domain is empty")
	}
	if o.server == "" {
		return nil
	}
	if addr, err := netip.ParseAddr(o.server); err == nil {
		o.server = netip.AddrPortFrom(addr, 53).String()
	} else if _, err := netip.ParseAddrPort(o.server); err != nil {
		return fmt.Errorf("--server is %q: it must be IP or IP:PORT", o.server)
	}
	return nil
}

// enterLab asks the same from a place in the lab, by becoming this program there.
func (o *digOptions) enterLab(cmd *cobra.Command, find func() (lab.State, error), f cmdutil.Factory, args []string, namespace string) error {
	state, err := running(find)
	if err != nil {
		return fmt.Errorf("%w; without a lab, say which server to ask: --server IP", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from := o.from
	if from == "" { // no Pod's resolv.conf: the node knows the way, we what would be in it
		if o.server, err = clusterDNS(cmd.Context(), f); err != nil {
			return err
		}
		from = "node1"
	}
	if pod, ok := strings.CutPrefix(from, "pod/"); ok && !strings.Contains(pod, "/") {
		from = "pod/" + namespace + "/" + pod
	}
	place, err := state.Place(from)
	if err != nil {
		return err
	}
	command := append([]string{self, "dig", "--here", "--namespace=" + namespace, "--from=" + o.from, "--server=" + o.server,
		"--domain=" + o.domain, "--output=" + o.output, "--"}, args...)
	return enter(state, place, command)
}

// clusterDNS is the address of the cluster's DNS.
func clusterDNS(ctx context.Context, f cmdutil.Factory) (string, error) {
	client, err := f.KubernetesClientSet()
	if err != nil {
		return "", err
	}
	svc, err := client.CoreV1().Services(metav1.NamespaceSystem).Get(ctx, "kube-dns", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("find the cluster's DNS: %w", err)
	}
	return svc.Spec.ClusterIP, nil
}

// ask asks from where this program runs.
func (o *digOptions) ask(ctx context.Context, f cmdutil.Factory, question dig.Question, namespace string) (dig.Result, error) {
	resolver := dig.ForNamespace(o.server, namespace, strings.Trim(o.domain, "."))
	if o.from != "" {
		text, err := os.ReadFile("/etc/resolv.conf")
		if err != nil {
			return dig.Result{}, err
		}
		resolver = dig.ParseResolvConf(string(text))
		if o.server != "" {
			resolver.Servers = []string{o.server}
		}
	}
	objects, err := readObjects(ctx, f)
	if err != nil {
		fmt.Fprintf(os.Stderr, "ctl: the objects behind the names are not shown: %v\n", err)
	}
	var here *host.Host
	result, err := dig.Run(ctx, here.Dial, resolver, question, objects)
	if result.From = o.from; o.from == "" {
		result.From = "a Pod of Namespace " + namespace
	}
	return result, err
}

// readObjects reads from the API what names come from.
func readObjects(ctx context.Context, f cmdutil.Factory) (*dig.Objects, error) {
	client, err := f.KubernetesClientSet()
	if err != nil {
		return nil, err
	}
	return listObjects(ctx, client)
}

func listObjects(ctx context.Context, client kubernetes.Interface) (*dig.Objects, error) {
	namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	services, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	slices, err := client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return &dig.Objects{Namespaces: namespaces.Items, Services: services.Items, Slices: slices.Items, Pods: pods.Items}, nil
}

// print writes the result.
func (o *digOptions) print(cmd *cobra.Command, result dig.Result) error {
	if o.output == "json" {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), result.Text())
	return err
}
