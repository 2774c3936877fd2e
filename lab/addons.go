package lab

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"orrery.example.org/api"
	"orrery.example.org/dns"
	"orrery.example.org/node/workload"
	"orrery.example.org/pki"
)

// What a new cluster is furnished with, as kubeadm does it: cluster DNS, and the
// control plane's parts as Pods one can see (mirror.go).

//go:embed addons/coredns.yaml
var corednsManifest []byte

// furnish creates what the cluster does not have yet. What is there stays as its
// owner left it.
func (c *cluster) furnish(ctx context.Context) error {
	if err := c.createAll(ctx, c.config.coredns()); err != nil {
		return fmt.Errorf("create the cluster DNS: %w", err)
	}
	c.workers.run("mirror Pods", c.keepMirrorPods)
	c.workers.run("routes to Pods", c.routeToPods)
	c.workers.run("NodePorts and load balancers on this machine", c.ports.run)
	return nil
}

// coredns is the manifest. With two families, the Service has an address of each.
func (c Config) coredns() []byte {
	one := "clusterIP: " + dnsService.String()
	if !c.dual() {
		return corednsManifest
	}
	both := fmt.Sprintf("%s\n  clusterIPs: [%s, %s]\n  ipFamilyPolicy: PreferDualStack", one, dnsService, dnsService6)
	return bytes.Replace(corednsManifest, []byte(one), []byte(both), 1)
}

// createAll posts each document of a manifest unless such an object exists.
func (c *cluster) createAll(ctx context.Context, manifest []byte) error {
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var meta metav1.PartialObjectMetadata
		if err := yaml.Unmarshal(doc, &meta); err != nil {
			return err
		}
		path, err := collectionPath(&meta)
		if err != nil {
			return err
		}
		err = c.admin.CoreV1().RESTClient().Post().AbsPath(path).SetHeader("Content-Type", "application/yaml").Body(doc).Do(ctx).Error()
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("%s %s: %w", meta.Kind, meta.Name, err)
		}
	}
}

// collectionPath is where objects like this one are posted to.
func collectionPath(meta *metav1.PartialObjectMetadata) (string, error) {
	gvk := meta.GroupVersionKind()
	for _, kind := range api.Table {
		v := kind.Version(gvk.GroupVersion())
		if v == nil || v.Kind != gvk.Kind {
			continue
		}
		path := "/apis/" + gvk.GroupVersion().String()
		if gvk.Group == "" {
			path = "/api/v1"
		}
		if kind.Namespaced {
			path += "/namespaces/" + meta.Namespace
		}
		return path + "/" + kind.Resource, nil
	}
	return "", fmt.Errorf("no kind %s in the table", gvk)
}

// removeStaleNodes forgets Nodes of an earlier run with more nodes, and their Pods:
// no agent will ever say that those have ended.
func (c *cluster) removeStaleNodes(ctx context.Context) error {
	nodes, err := c.admin.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	now := *metav1.NewDeleteOptions(0)
	for _, n := range nodes.Items {
		if c.hasNode(n.Name) {
			if err := c.checkFamilies(&n); err != nil {
				return err
			}
			continue
		}
		if err := c.admin.CoreV1().Nodes().Delete(ctx, n.Name, now); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete node %s, which this lab no longer has: %w", n.Name, err)
		}
		pods, err := c.admin.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + n.Name})
		if err != nil {
			return fmt.Errorf("list the Pods of node %s: %w", n.Name, err)
		}
		for _, p := range pods.Items {
			if err := c.admin.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, now); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("delete Pod %s/%s of node %s: %w", p.Namespace, p.Name, n.Name, err)
			}
		}
	}
	return nil
}

// checkFamilies refuses data of a lab of other families: what addresses there are is
// decided once in the life of a cluster.
func (c *cluster) checkFamilies(n *corev1.Node) error {
	if have := len(n.Spec.PodCIDRs); have > 0 && have != len(families(c.config, podNetwork, podNetwork6)) {
		was := map[int]string{1: IPv4, 2: Dual}[have]
		return fmt.Errorf("the data of lab %q is that of a cluster with --ip-family %s, not %s: start it with that, or delete the data first (ctl down --purge --name %s)",
			c.config.State.Name, was, c.config.IPFamily, c.config.State.Name)
	}
	return nil
}

// corednsWorkload is the built-in image coredns: the DNS server, in a Pod's place. It
// reaches the API as any Pod does, through the kubernetes Service, with the identity
// of its service account.
func (c *cluster) corednsWorkload() workload.Named {
	return workload.Named{Name: "coredns", Run: func(ctx context.Context, pod *workload.Container) error {
		pair, err := c.ca.Issue(pki.ServiceAccount(pod.Pod.Namespace, pod.Pod.Spec.ServiceAccountName))
		if err != nil {
			return err
		}
		cfg := dns.Defaults()
		cfg.Host = pod.Host
		cfg.Client = c.dialFrom(pod.Host, pki.ClientConfig("https://"+netip.AddrPortFrom(kubernetesService, 443).String(), c.ca, pair))
		cfg.Domain = clusterDomain
		cfg.Log = slog.New(slog.NewTextHandler(pod.Stdout, nil))
		server, err := dns.New(cfg)
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- server.Run(ctx) }()
		select {
		case <-server.Ready():
			pod.Ready()
		case err := <-ended:
			return err
		}
		return <-ended
	}}
}
