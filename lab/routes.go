package lab

import (
	"context"

	"orrery.example.org/node/network"
)

// routeToPods looks after the control plane's routes to Pods until ctx ends: nodes set
// up theirs themselves, and that host has no agent.
func (c *cluster) routeToPods(ctx context.Context) error {
	return network.Follow(ctx, c.fabric.hosts[controlPlane], c.admin, c.logger("routes"))
}
