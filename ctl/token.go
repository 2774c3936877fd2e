package main

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

func newTokenCommand(f cmdutil.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token create",
		Short: "Let machines join the cluster as nodes",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { _ = cmd.Help() },
	}
	create := &cobra.Command{
		Use:   "create",
		Short: "Make a bootstrap token and print the kubeconfig to join with",
		Long: `Make a bootstrap token, which is good for one thing: to ask for the certificate of a
node. What is printed is a kubeconfig with it, for ctl serve node --bootstrap-kubeconfig.

kubeadm token create makes the same Secret and prints the token alone.`,
		Example: `  # On the control plane
  ctl token create > bootstrap.kubeconfig`,
		Args: cobra.NoArgs,
	}
	ttl := create.Flags().Duration("ttl", 24*time.Hour, "how long it may be used; 0: until it is deleted")
	create.RunE = own(func(cmd *cobra.Command, _ []string) error {
		config, err := f.ToRESTConfig()
		if err != nil {
			return err
		}
		if err := rest.LoadTLSFiles(config); err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		id, secret := randomText(6), randomText(16)
		object := bootstrapToken(id, secret, *ttl, time.Now())
		if _, err := client.CoreV1().Secrets(object.Namespace).Create(cmd.Context(), object, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make the token: %w", err)
		}
		data, err := joinConfig(config, id+"."+secret)
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(data)
		return err
	})
	cmd.AddCommand(create)
	return cmd
}

// bootstrapToken is the Secret that the API server knows the token by.
func bootstrapToken(id, secret string, ttl time.Duration, now time.Time) *corev1.Secret {
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + id},
		Type:       corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
			"auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
		},
	}
	if ttl > 0 {
		object.StringData["expiration"] = now.Add(ttl).UTC().Format(time.RFC3339)
	}
	return object
}

// joinConfig is a kubeconfig for the cluster of config and the bearer of the token.
func joinConfig(config *rest.Config, token string) ([]byte, error) {
	const name = "bootstrap"
	join := clientcmdapi.NewConfig()
	join.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	join.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	join.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	join.CurrentContext = name
	return clientcmd.Write(*join)
}

// randomText is of the letters that a token may have. Five bits of each random byte
// choose among 32 of the 36, so that none is likelier than another.
func randomText(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	text := make([]byte, n)
	_, _ = rand.Read(text) // never fails
	for i, b := range text {
		text[i] = letters[b%32]
	}
	return string(text)
}
