package main

import (
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// kubectlWord is kubectl as the name of the program. It does not match annotations
// (kubectl.kubernetes.io/…), field managers and plugins (kubectl-…), or addresses.
var kubectlWord = regexp.MustCompile(`(^|[^\w./-])kubectl($|[^\w./-]|\.\s|\.$)`)

// rename makes help texts and examples say ctl, the way OpenShift's oc does it.
func rename(cmd *cobra.Command) {
	for _, text := range []*string{&cmd.Use, &cmd.Short, &cmd.Long, &cmd.Example} {
		*text = kubectlWord.ReplaceAllString(*text, "${1}"+name+"${2}")
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		f.Usage = kubectlWord.ReplaceAllString(f.Usage, "${1}"+name+"${2}")
	})
	for _, c := range cmd.Commands() {
		rename(c)
	}
}
