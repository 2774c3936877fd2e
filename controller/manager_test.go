package controller_test

import (
	"context"
	"testing"

	"orrery.example.org/controller"
)

func TestConfig(t *testing.T) {
	c := serve(t)
	for name, change := range map[string]func(*controller.Config){
		"no client":        func(cfg *controller.Config) { cfg.Client = nil },
		"negative workers": func(cfg *controller.Config) { cfg.ConcurrentGCSyncs = -1 },
		"mask too wide":    func(cfg *controller.Config) { cfg.NodeCIDRMaskSize = 8 },
		"no CIDR":          func(cfg *controller.Config) { cfg.ClusterCIDR = "10.244.0.0" },
		"negative period":  func(cfg *controller.Config) { cfg.NodeMonitorPeriod = -1 },
	} {
		cfg := controller.Defaults()
		cfg.Client = c.config
		change(&cfg)
		if _, err := controller.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestLeaderElection: of two managers one works, and the other takes over when it ends.
func TestLeaderElection(t *testing.T) {
	c := serve(t)
	cfg := controller.Defaults()
	cfg.Client, cfg.Scheduler, cfg.Log, cfg.LeaderElect = c.config, c.scheduler, c.log, true
	stop := c.manage(cfg)

	standby, err := controller.New(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- standby.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("standby: %v", err)
		}
	}()
	c.node("node1")
	c.deploy(deployment("web", 1, "nginx"))
	c.rolledOut("web")
	select {
	case <-standby.Ready():
		t.Fatal("two managers lead")
	default:
	}
	// The first gives its lease back when it ends, so the second need not wait it out.
	stop()
	select {
	case <-standby.Ready():
	case err := <-ended:
		t.Fatalf("the standby ended: %v", err)
	}
	c.patchDeployment("web", `{"spec":{"replicas":2}}`)
	c.rolledOut("web")
}
