package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

func newImagesCommand(f cmdutil.Factory) *cobra.Command {
	return &cobra.Command{
		Use:   "images",
		Short: "List the images that the cluster's nodes can run",
		Long: `List the images that the cluster's nodes can run, as each Node's status has them. There is
no registry: a node's catalog says what an image stands for, and matches whatever the
registry and the tag are.`,
		Args: cobra.NoArgs,
		RunE: own(func(cmd *cobra.Command, _ []string) error {
			client, err := f.KubernetesClientSet()
			if err != nil {
				return err
			}
			nodes, err := client.CoreV1().Nodes().List(cmd.Context(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 3, ' ', 0)
			fmt.Fprintln(w, "IMAGE\tRUNS\tNODES")
			for _, row := range imageRows(nodes.Items) {
				fmt.Fprintln(w, strings.Join(row, "\t"))
			}
			return w.Flush()
		}),
	}
}

// imageRows lists each image with what it runs and where. As upstream, the names of an
// image begin with the one that says what it is.
func imageRows(nodes []corev1.Node) [][]string {
	type image struct{ name, runs string }
	where := map[image][]string{}
	for _, node := range nodes {
		for _, i := range node.Status.Images {
			if len(i.Names) == 0 {
				continue
			}
			_, runs, _ := strings.Cut(i.Names[0], "://")
			found := image{i.Names[len(i.Names)-1], cmp.Or(strings.Replace(runs, "/", " ", 1), "-")}
			where[found] = append(where[found], node.Name)
		}
	}
	all := slices.SortedFunc(maps.Keys(where), func(a, b image) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.runs, b.runs))
	})
	rows := make([][]string, len(all))
	for i, image := range all {
		rows[i] = []string{image.name, image.runs, strings.Join(where[image], ",")}
	}
	return rows
}
