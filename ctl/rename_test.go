package main

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestHelpSpeaksOfCtl(t *testing.T) {
	texts := 0
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		for _, text := range []string{cmd.Use, cmd.Short, cmd.Long, cmd.Example} {
			texts++
			if kubectlWord.MatchString(text) {
				t.Errorf("%s: %s", cmd.CommandPath(), text)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if kubectlWord.MatchString(f.Usage) {
				t.Errorf("%s --%s: %s", cmd.CommandPath(), f.Name, f.Usage)
			}
		})
		for _, c := range cmd.Commands() {
			look(c)
		}
	}
	look(newRootCommand(nil))
	if texts < 300 {
		t.Errorf("only %d texts: are kubectl's commands there?", texts)
	}
}

func TestRenameLeavesOtherNamesAlone(t *testing.T) {
	for text, want := range map[string]string{
		"kubectl get pods":                       "ctl get pods",
		"use 'kubectl apply'.":                   "use 'ctl apply'.",
		"kubectl.":                               "ctl.",
		"kubectl.kubernetes.io/restartedAt":      "kubectl.kubernetes.io/restartedAt",
		"--field-manager=kubectl-create":         "--field-manager=kubectl-create",
		"https://kubernetes.io/docs/kubectl/x":   "https://kubernetes.io/docs/kubectl/x",
		"/usr/local/bin/kubectl-foo":             "/usr/local/bin/kubectl-foo",
		"a\nkubectl get\nkubectl describe pods ": "a\nctl get\nctl describe pods ",
	} {
		cmd := &cobra.Command{Use: "x", Long: text}
		rename(cmd)
		if cmd.Long != want {
			t.Errorf("%q became %q", text, cmd.Long)
		}
	}
}
