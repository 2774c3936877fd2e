package pki

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The users and groups that Kubernetes gives to its parts.
var (
	Admin             = Request{User: "kubernetes-admin", Groups: []string{"system:masters"}}
	APIServerClient   = Request{User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}
	ControllerManager = Request{User: "system:kube-controller-manager"}
	Scheduler         = Request{User: "system:kube-scheduler"}
	PodNetwork        = ServiceAccount("kube-system", "pod-network")
	KubeProxy         = Request{User: "system:kube-proxy", Groups: []string{"system:node-proxier"}}
	LoadBalancer      = Request{User: "system:load-balancer"} // ours; upstream's are the cloud's
	FakeNodes         = ServiceAccount("kube-system", "fake-nodes")
)

// Node is the identity of a node's agent.
func Node(name string) Request {
	return Request{User: "system:node:" + name, Groups: []string{"system:nodes"}}
}

// ServiceAccount is the identity of a workload.
func ServiceAccount(namespace, name string) Request {
	return Request{
		User:   "system:serviceaccount:" + namespace + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace},
	}
}

// ClientConfig is a client-go configuration for server (https://host:port) that
// presents the pair.
func ClientConfig(server string, ca *CA, p Pair) *rest.Config {
	return &rest.Config{
		Host:            server,
		TLSClientConfig: rest.TLSClientConfig{CAData: ca.PEM, CertData: p.Cert, KeyData: p.Key},
		QPS:             -1, // the API server is ours; upstream's client-side limit of 5/s hides nothing we want to see
	}
}

// WriteKubeconfig writes a kubeconfig with one cluster, one user and one context,
// all of that name, readable by its owner only.
func WriteKubeconfig(path, name string, c *rest.Config) error {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: c.Host, CertificateAuthorityData: c.CAData}
	cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: c.CertData, ClientKeyData: c.KeyData}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return fmt.Errorf("encode kubeconfig %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeFile(path, data, 0o600)
}

// ClusterInfo is a kubeconfig that tells where a cluster is and which CA it has, and
// nothing of users.
func ClusterInfo(server string, ca []byte) ([]byte, error) {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[""] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("encode cluster-info: %w", err)
	}
	return data, nil
}
