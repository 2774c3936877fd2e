package main

import (
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"orrery.example.org/lab"
)

// clientGetter finds the cluster as kubectl does (--kubeconfig, then KUBECONFIG),
// with the lab in place of ~/.kube/config, and says so when there is no lab.
type clientGetter struct {
	*genericclioptions.ConfigFlags
	lab *lab.State // the lab that is meant because nothing else was said; or nil
}

func newClientGetter(streams genericiooptions.IOStreams) *clientGetter {
	g := &clientGetter{}
	if os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" {
		if state, err := lab.Current(); err == nil {
			g.lab = &state
			// By the environment, since `ctl config` and the loading rules read it from there.
			_ = os.Setenv(clientcmd.RecommendedConfigPathEnvVar, state.Kubeconfig())
		}
	}
	g.ConfigFlags = newConfigFlags(streams)
	return g
}

// check fails where the lab is meant but is not running, and where an address is meant
// that is only good inside of one.
func (g *clientGetter) check() error {
	if *g.APIServer == "" {
		if err := g.checkNetwork(); err != nil {
			return err
		}
	}
	if g.lab == nil || *g.KubeConfig != "" {
		return nil
	}
	if _, running := g.lab.Running(); !running {
		return fmt.Errorf("lab %q is not running: start it with \"ctl up\", or name another cluster with --kubeconfig or KUBECONFIG", g.lab.Name)
	}
	return nil
}

// checkNetwork looks at the cluster that the flags and the kubeconfig choose. What is
// wrong with those is for the command to say.
func (g *clientGetter) checkNetwork() error {
	raw, err := g.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil
	}
	name := raw.CurrentContext
	if *g.Context != "" {
		name = *g.Context
	}
	cluster := *g.ClusterName
	if context := raw.Contexts[name]; cluster == "" && context != nil {
		cluster = context.Cluster
	}
	return lab.CheckNetwork(raw.Clusters[cluster])
}

// ToRESTConfig, ToDiscoveryClient and ToRESTMapper are the ways by which kubectl's
// commands come to talk to a cluster.
func (g *clientGetter) ToRESTConfig() (*rest.Config, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	return g.ConfigFlags.ToRESTConfig()
}

// ToDiscoveryClient implements genericclioptions.RESTClientGetter.
func (g *clientGetter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	return g.ConfigFlags.ToDiscoveryClient()
}

// ToRESTMapper implements genericclioptions.RESTClientGetter.
func (g *clientGetter) ToRESTMapper() (meta.RESTMapper, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	return g.ConfigFlags.ToRESTMapper()
}
