package controller_test

import (
	"testing"

	"orrery.example.org/controller"
)

func TestConfig(t *testing.T) {
	c := serve(t)
	for name, change := range map[string]func(*controller.Config){
		"no client":        func(cfg *controller.Config) { cfg.Client = nil },
		"negative workers": func(cfg *controller.Config) { cfg.ConcurrentGCSyncs = -1 },
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

func TestLeaderElection(t *testing.T) {
	c := serve(t)
	cfg := controller.Defaults()
	cfg.Client, cfg.Log, cfg.LeaderElect = c.config, c.log, true
	stop := c.manage(cfg)

	second, err := controller.New(cfg)
	must(t, err)
	standby := make(chan struct{})
	go func() {
		<-second.Ready()
		close(standby)
	}()
	c.node("node1")
	c.deploy(deployment("web", 1, "nginx"))
	c.rolledOut("web")

	// The first gives its lease back when it ends, so the second need not wait it out.
	stop()
	background(t, "second manager", second.Run, standby)
	c.patchDeployment("web", `{"spec":{"replicas":2}}`)
	c.rolledOut("web")
}
