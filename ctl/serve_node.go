package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"orrery.example.org/node"
	"orrery.example.org/node/identity"
	"orrery.example.org/pki"
)

// nodeConfig is the file of ctl serve node.
type nodeConfig struct {
	node.Config   `mapstructure:",squash"`
	ClusterAccess `mapstructure:",squash"`

	NetworkKubeconfig   string   `mapstructure:"network-kubeconfig" usage:"how the Pod network sees all Nodes, for the routes to their Pods; by default there are none"`
	BootstrapKubeconfig string   `mapstructure:"bootstrap-kubeconfig" usage:"how to join: a kubeconfig with a bootstrap token; the one named by kubeconfig is then written"`
	CACertHashes        []string `mapstructure:"discovery-token-ca-cert-hash" usage:"refuse to join unless the CA in bootstrap-kubeconfig has this public key (sha256:HEX)"`

	CertFile     string `mapstructure:"tls-cert-file" usage:"certificate of the agent's HTTPS server; by default a node that joins asks the cluster for one"`
	KeyFile      string `mapstructure:"tls-private-key-file" usage:"its key"`
	ClientCAFile string `mapstructure:"client-ca-file" usage:"who signs the certificates of the API server; by default the CA of the kubeconfig"`
}

func serveNode() *cobra.Command {
	return component("node", "The agent of this machine, as a node", nodeConfig{Config: node.Defaults()},
		func(c nodeConfig, log *slog.Logger) (func(context.Context) error, error) {
			c.Log = log
			if c.StateDir != "" { // containers have working directories of their own
				abs, err := filepath.Abs(c.StateDir)
				if err != nil {
					return nil, fmt.Errorf("state-dir: %w", err)
				}
				c.StateDir = abs
			}
			if err := c.readCertificates(); err != nil {
				return nil, err
			}
			if c.NetworkKubeconfig != "" {
				network, err := (ClusterAccess{c.NetworkKubeconfig}).client()
				if err != nil {
					return nil, err
				}
				c.Network = network
			}
			if c.BootstrapKubeconfig != "" {
				return c.joinAndRun, nil
			}
			var err error
			if c.Config.Client, err = c.client(); err != nil {
				return nil, err
			}
			if c.ClientCA == nil {
				return nil, errors.New("client-ca-file is not set: name the file with the cluster's CA")
			}
			if c.CertFile == "" {
				return nil, errors.New("tls-cert-file is not set: name the certificate of this node, or join with bootstrap-kubeconfig")
			}
			agent, err := node.New(c.Config)
			if err != nil {
				return nil, err
			}
			return agent.Run, nil
		})
}

// joinAndRun gets the node's certificates from the cluster, if it has not joined
// before, and renews them as long as the agent runs.
func (c nodeConfig) joinAndRun(ctx context.Context) error {
	if c.Kubeconfig == "" || c.StateDir == "" || c.Name == "" {
		return errors.New("to join, a node needs name, state-dir, and with kubeconfig the file to write its access to the cluster to")
	}
	own, err := identity.Load(ctx, identity.Config{
		Node: c.Name, Addresses: c.NodeIP, Dir: filepath.Join(c.StateDir, "pki"), Kubeconfig: c.Kubeconfig,
		Bootstrap: c.BootstrapKubeconfig, CAHashes: c.CACertHashes, OwnServing: c.CertFile != "", Log: c.Log,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while waiting
		}
		return err
	}
	c.Config.Client = own.ClientConfig()
	if c.ClientCA == nil {
		c.ClientCA = own.ClientCA()
	}
	if c.CertFile == "" {
		c.ServingCertificate = own.ServingCertificate
	}
	agent, err := node.New(c.Config)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return agent.Run(ctx) })
	group.Go(func() error { return own.Run(ctx) })
	return group.Wait()
}

// readCertificates reads those that the configuration names.
func (c *nodeConfig) readCertificates() (err error) {
	if c.CertFile != "" || c.KeyFile != "" {
		if c.Serving, err = readPair(c.CertFile, c.KeyFile); err != nil {
			return err
		}
	}
	if c.ClientCAFile != "" {
		if c.ClientCA, err = os.ReadFile(c.ClientCAFile); err != nil {
			return fmt.Errorf("read client-ca-file: %w", err)
		}
	}
	return nil
}

func readPair(certFile, keyFile string) (pair pki.Pair, err error) {
	if pair.Cert, err = os.ReadFile(certFile); err != nil {
		return pair, fmt.Errorf("read tls-cert-file: %w", err)
	}
	if pair.Key, err = os.ReadFile(keyFile); err != nil {
		return pair, fmt.Errorf("read tls-private-key-file: %w", err)
	}
	return pair, nil
}
