package lab

import (
	"net"
	"net/netip"

	"orrery.example.org/node/fake"
	"orrery.example.org/pki"
)

// The fake nodes (`ctl up --fake-nodes`) have one address together, that of a machine of
// its own: who wants logs of their Pods is answered there, and packets to their Pods are
// sent there and dropped.
const fakes = "fake-nodes"

var fakesAddress = netip.MustParseAddr("172.30.0.10")

// maxAllNodes is how many ranges for Pods there are in podNetwork.
const maxAllNodes = 256

// startFakes starts the agent of the fake nodes, if there are to be any.
func (c *cluster) startFakes() error {
	if c.config.FakeNodes == 0 {
		return nil
	}
	place := c.fabric.hosts[fakes]
	cfg := fake.Defaults()
	cfg.Count, cfg.Address, cfg.Host = c.config.FakeNodes, fakesAddress.String(), place
	var err error
	if cfg.Client, err = c.client(place, pki.FakeNodes); err != nil {
		return err
	}
	cfg.Serving, err = c.ca.Issue(pki.Request{User: fakes, DNS: []string{fakes}, IPs: []net.IP{fakesAddress.AsSlice()}})
	if err != nil {
		return err
	}
	cfg.ClientCA, cfg.Log = c.ca.PEM, c.logger(fakes)
	if c.fakes, err = fake.New(cfg); err != nil {
		return err
	}
	c.workers.run("fake nodes", c.fakes.Run)
	return nil
}

// hasNode says whether a node of that name is of this lab.
func (c *cluster) hasNode(name string) bool {
	for i := range c.config.FakeNodes {
		if name == fake.Defaults().Name(i+1) {
			return true
		}
	}
	return c.fabric.hosts[name] != nil
}
