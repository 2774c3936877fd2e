package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/annotate"
	"k8s.io/kubectl/pkg/cmd/apiresources"
	"k8s.io/kubectl/pkg/cmd/apply"
	"k8s.io/kubectl/pkg/cmd/attach"
	"k8s.io/kubectl/pkg/cmd/auth"
	"k8s.io/kubectl/pkg/cmd/autoscale"
	"k8s.io/kubectl/pkg/cmd/certificates"
	"k8s.io/kubectl/pkg/cmd/clusterinfo"
	"k8s.io/kubectl/pkg/cmd/completion"
	cmdconfig "k8s.io/kubectl/pkg/cmd/config"
	"k8s.io/kubectl/pkg/cmd/cp"
	"k8s.io/kubectl/pkg/cmd/create"
	"k8s.io/kubectl/pkg/cmd/debug"
	"k8s.io/kubectl/pkg/cmd/delete"
	"k8s.io/kubectl/pkg/cmd/describe"
	"k8s.io/kubectl/pkg/cmd/diff"
	"k8s.io/kubectl/pkg/cmd/drain"
	"k8s.io/kubectl/pkg/cmd/edit"
	"k8s.io/kubectl/pkg/cmd/events"
	cmdexec "k8s.io/kubectl/pkg/cmd/exec"
	"k8s.io/kubectl/pkg/cmd/explain"
	"k8s.io/kubectl/pkg/cmd/expose"
	"k8s.io/kubectl/pkg/cmd/get"
	"k8s.io/kubectl/pkg/cmd/kustomize"
	"k8s.io/kubectl/pkg/cmd/label"
	"k8s.io/kubectl/pkg/cmd/logs"
	"k8s.io/kubectl/pkg/cmd/options"
	"k8s.io/kubectl/pkg/cmd/patch"
	"k8s.io/kubectl/pkg/cmd/plugin"
	"k8s.io/kubectl/pkg/cmd/portforward"
	"k8s.io/kubectl/pkg/cmd/proxy"
	"k8s.io/kubectl/pkg/cmd/replace"
	"k8s.io/kubectl/pkg/cmd/rollout"
	"k8s.io/kubectl/pkg/cmd/run"
	"k8s.io/kubectl/pkg/cmd/scale"
	"k8s.io/kubectl/pkg/cmd/set"
	"k8s.io/kubectl/pkg/cmd/taint"
	"k8s.io/kubectl/pkg/cmd/top"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/cmd/version"
	"k8s.io/kubectl/pkg/cmd/wait"
	utilcomp "k8s.io/kubectl/pkg/util/completion"
	"k8s.io/kubectl/pkg/util/templates"
)

const name = "ctl"

// newRootCommand builds the tree of commands: our groups first, then kubectl's,
// in its order.
func newRootCommand(args []string) *cobra.Command {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	warnings := rest.NewWarningWriter(streams.ErrOut, rest.WarningWriterOptions{Deduplicate: true, Color: printers.AllowsColorOutput(streams.ErrOut)})
	warningsAsErrors := false
	root := &cobra.Command{
		Use:   name,
		Short: "ctl drives an Orrery cluster",
		Long: `ctl drives an Orrery cluster: a small working model of Kubernetes Services.

Start a lab with "ctl up", then look around: "ctl get nodes".`,
		Run:              func(cmd *cobra.Command, _ []string) { _ = cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) { rest.SetDefaultWarningHandler(warnings) },
		PersistentPostRunE: func(*cobra.Command, []string) error {
			if n := warnings.WarningCount(); warningsAsErrors && n > 0 {
				return fmt.Errorf("%d warning(s) received", n)
			}
			return nil
		},
	}
	root.PersistentFlags().BoolVar(&warningsAsErrors, "warnings-as-errors", false, "Treat warnings received from the server as errors and exit with a non-zero exit code")

	getter := newClientGetter(streams)
	getter.AddFlags(root.PersistentFlags())
	matchVersion := cmdutil.NewMatchVersionFlags(getter)
	matchVersion.AddFlags(root.PersistentFlags())
	f := cmdutil.NewFactory(matchVersion)

	own := templates.CommandGroup{Message: "Lab Commands:", Commands: labCommands(f)}
	groups := append(templates.CommandGroups{own}, kubectlGroups(f, streams)...)
	groups.Add(root)
	others := []*cobra.Command{
		cmdconfig.NewCmdConfig(f, clientcmd.NewDefaultPathOptions(), streams),
		plugin.NewCmdPlugin(streams),
		version.NewCmdVersion(f, streams),
		apiresources.NewCmdAPIVersions(f, streams),
		apiresources.NewCmdAPIResources(f, streams),
		options.NewCmdOptions(streams.Out),
	}
	groups = append(groups, plugin.GetPluginCommandGroup(root))
	templates.ActsAsRootCommand(root, []string{"options"}, groups...)
	utilcomp.SetFactoryForCompletion(f)
	root.AddCommand(others...)
	rename(root)
	runPlugin(root, args, streams)
	return root
}

// kubectlGroups are kubectl's commands, made with ctl as their parent: a renaming
// afterwards would leave "kubectl" in texts that they build at once.
func kubectlGroups(f cmdutil.Factory, io genericiooptions.IOStreams) templates.CommandGroups {
	getCmd := get.NewCmdGet(name, f, io)
	getCmd.ValidArgsFunction = utilcomp.ResourceTypeAndNameCompletionFunc(f)
	debugCmd := debug.NewCmdDebug(f, io)
	debugCmd.ValidArgsFunction = utilcomp.ResourceTypeAndNameCompletionFunc(f)
	return templates.CommandGroups{
		{Message: "Basic Commands (Beginner):", Commands: []*cobra.Command{
			create.NewCmdCreate(f, io), expose.NewCmdExposeService(f, io), run.NewCmdRun(f, io), set.NewCmdSet(f, io),
		}},
		{Message: "Basic Commands (Intermediate):", Commands: []*cobra.Command{
			explain.NewCmdExplain(name, f, io), getCmd, edit.NewCmdEdit(f, io), delete.NewCmdDelete(f, io),
		}},
		{Message: "Deploy Commands:", Commands: []*cobra.Command{
			rollout.NewCmdRollout(name, f, io), scale.NewCmdScale(f, io), autoscale.NewCmdAutoscale(f, io),
		}},
		{Message: "Cluster Management Commands:", Commands: []*cobra.Command{
			certificates.NewCmdCertificate(f, io), clusterinfo.NewCmdClusterInfo(f, io), top.NewCmdTop(f, io),
			drain.NewCmdCordon(f, io), drain.NewCmdUncordon(f, io), drain.NewCmdDrain(f, io), taint.NewCmdTaint(f, io),
		}},
		{Message: "Troubleshooting and Debugging Commands:", Commands: []*cobra.Command{
			describe.NewCmdDescribe(name, f, io), logs.NewCmdLogs(f, io), attach.NewCmdAttach(f, io), cmdexec.NewCmdExec(f, io),
			portforward.NewCmdPortForward(f, io), proxy.NewCmdProxy(f, io), cp.NewCmdCp(f, io), auth.NewCmdAuth(f, io),
			debugCmd, events.NewCmdEvents(f, io),
		}},
		{Message: "Advanced Commands:", Commands: []*cobra.Command{
			diff.NewCmdDiff(f, io), apply.NewCmdApply(name, f, io), patch.NewCmdPatch(f, io), replace.NewCmdReplace(f, io),
			wait.NewCmdWait(f, io), kustomize.NewCmdKustomize(io),
		}},
		{Message: "Settings Commands:", Commands: []*cobra.Command{
			label.NewCmdLabel(f, io), annotate.NewCmdAnnotate(name, f, io), completion.NewCmdCompletion(io.Out, ""),
		}},
	}
}

// runPlugin hands over to a plugin, ctl-NAME or kubectl-NAME in PATH, where the
// command line names no command of ours. It does not return then.
func runPlugin(root *cobra.Command, args []string, streams genericiooptions.IOStreams) {
	plugin.ValidPluginFilenamePrefixes = []string{name, "kubectl"}
	if len(args) < 2 {
		return
	}
	found, rest, err := root.Find(args[1:])
	switch first := firstWord(args[1:]); {
	case err != nil && first != "help" && !strings.HasPrefix(first, cobra.ShellCompRequestCmd):
		err = kubectl.HandlePluginCommand(kubectl.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes), args[1:], 1)
	case err == nil && kubectl.IsSubcommandPluginAllowed(found.Name()) && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && !hasCommand(found, rest[0]):
		err = kubectl.HandlePluginCommand(kubectl.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes), args[1:], len(args)-len(rest))
	default:
		return
	}
	if err != nil {
		fmt.Fprintf(streams.ErrOut, "Error: %v\n", err)
		os.Exit(1)
	}
}

func firstWord(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

func hasCommand(parent *cobra.Command, name string) bool {
	for _, c := range parent.Commands() {
		if c.Name() == name {
			return true
		}
	}
	return false
}

// newConfigFlags are kubectl's flags for finding a cluster, with caches of our own:
// ctl never touches ~/.kube.
func newConfigFlags(streams genericiooptions.IOStreams) *genericclioptions.ConfigFlags {
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams)
	if dir, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(dir, "orrery")
		flags.CacheDir = &dir
	}
	return flags
}
