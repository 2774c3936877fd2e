package packet

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"orrery.example.org/proxy/flowtest"
	"orrery.example.org/proxy/plan"
)

// Every rule has a meaning, or the story would have holes.
func TestEveryRuleHasAMeaning(t *testing.T) {
	for _, s := range flowtest.Scenarios {
		chains := slices.Collect(maps.Values(rulesOf(s.Plans()).chains))
		v := ipvsOf(s.Plans())
		chains = slices.AppendSeq(append(chains, v.servers), maps.Values(v.chains))
		for _, chain := range append(chains, slices.Collect(maps.Values(nftablesOf(t, s.Plans()).chains))...) {
			for _, rule := range chain.Rules {
				if rule.Meaning(nil) == "" {
					t.Errorf("%s: %s %s: %s has no meaning", s.Name, chain.Table, chain.Name, rule)
				}
			}
		}
	}
}

// The story as people read it.
func TestText(t *testing.T) {
	s := service("ac", flowtest.LoadBalancer(30080, "172.30.100.1"), flowtest.ExternalLocal(0), flowtest.Affinity(60))
	var b strings.Builder
	tell := func(rules func(plan.Snapshot) Rules) {
		b.WriteString(predict(t, rules(s), flowtest.Flow{From: "outside", To: nodePort}).Text(true) + "\n")
		b.WriteString(predict(t, rules(s), flowtest.Flow{From: "a", To: vip + ":80"}).Text(false) + "\n")
		b.WriteString(predict(t, rules(service("")), flowtest.Flow{From: "node", To: vip + ":80"}).Text(false) + "\n")
	}
	b.WriteString("# iptables\n\n")
	tell(func(s plan.Snapshot) Rules { return rulesOf(s) })
	b.WriteString("# nftables\n\n")
	tell(func(s plan.Snapshot) Rules { return nftablesOf(t, s) })
	b.WriteString("# ipvs\n\n")
	tell(func(s plan.Snapshot) Rules { return ipvsOf(s) })
	flowtest.Golden(t, "story", b.String())
}
