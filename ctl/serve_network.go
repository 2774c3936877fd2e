package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"orrery.example.org/node/network"
)

// serveNetwork is for the API server's machine where that is no node: it sends to Pods,
// too (kubectl get --raw …/proxy/), and has no agent that would look after its routes.
func serveNetwork() *cobra.Command {
	return component("network", "The routes to Pods, on a machine that is no node", ClusterAccess{},
		func(c ClusterAccess, log *slog.Logger) (func(context.Context) error, error) {
			config, err := c.client()
			if err != nil {
				return nil, err
			}
			config = rest.CopyConfig(config)
			config.UserAgent = "orrery-pod-network"
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return nil, fmt.Errorf("network: %w", err)
			}
			return func(ctx context.Context) error { return network.Follow(ctx, nil, client, log) }, nil
		})
}
