package packet

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orrery.example.org/proxy/flowtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Every rule has a meaning, or the story would have holes.
func TestEveryRuleHasAMeaning(t *testing.T) {
	for _, s := range flowtest.Scenarios {
		for place, chain := range rulesOf(s.Plans()).chains {
			for _, rule := range chain.Rules {
				if rule.Meaning() == "" {
					t.Errorf("%s: %s %s has no meaning", s.Name, place, rule)
				}
			}
		}
	}
}

// The story as people read it.
func TestText(t *testing.T) {
	s := service("ac", flowtest.LoadBalancer(30080, "172.30.100.1"), flowtest.ExternalLocal(0), flowtest.Affinity(60))
	var b strings.Builder
	b.WriteString(predict(t, rulesOf(s), flowtest.Flow{From: "outside", To: nodePort}).Text(true) + "\n")
	b.WriteString(predict(t, rulesOf(s), flowtest.Flow{From: "a", To: vip + ":80"}).Text(false) + "\n")
	b.WriteString(predict(t, rulesOf(service("")), flowtest.Flow{From: "node", To: vip + ":80"}).Text(false))
	const file = "testdata/story.golden"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run with -update to make it)", err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
