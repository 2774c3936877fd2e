package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"orrery.example.org/node/fake"
)

// fakeConfig is the file of ctl serve fake-nodes.
type fakeConfig struct {
	fake.Config   `mapstructure:",squash"`
	ClusterAccess `mapstructure:",squash"`

	CertFile     string `mapstructure:"tls-cert-file" usage:"certificate of the HTTPS server that answers for the nodes"`
	KeyFile      string `mapstructure:"tls-private-key-file" usage:"its key"`
	ClientCAFile string `mapstructure:"client-ca-file" usage:"who signs the certificates of the API server"`
}

func serveFakeNodes() *cobra.Command {
	return component("fake-nodes", "Nodes that are only simulated, and their Pods", fakeConfig{Config: fake.Defaults()},
		func(c fakeConfig, log *slog.Logger) (func(context.Context) error, error) {
			var err error
			if c.Config.Client, err = c.client(); err != nil {
				return nil, err
			}
			if c.CertFile == "" || c.ClientCAFile == "" {
				return nil, errors.New("tls-cert-file, tls-private-key-file and client-ca-file are needed: ctl serve apiserver writes them for what its nodes setting lists")
			}
			if c.Serving, err = readPair(c.CertFile, c.KeyFile); err != nil {
				return nil, err
			}
			if c.ClientCA, err = os.ReadFile(c.ClientCAFile); err != nil {
				return nil, fmt.Errorf("read client-ca-file: %w", err)
			}
			c.Log = log
			nodes, err := fake.New(c.Config)
			if err != nil {
				return nil, err
			}
			return nodes.Run, nil
		})
}
