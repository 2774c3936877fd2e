package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"orrery.example.org/apiserver/etcd"
)

// membersPatience is how long etcd may take to find itself healthy enough for a change.
const membersPatience = 30 * time.Second

// newEtcdCommand administers the etcd members of several API servers, as far as replacing
// one asks for. They are etcd's, so etcdctl does all of it and more.
func newEtcdCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "etcd", Short: "See and replace the etcd members of several API servers", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { _ = cmd.Help() }}
	servers := cmd.PersistentFlags().StringSlice("servers", nil, "URLs of members that live, e.g. https://192.0.2.1:2379")
	dir := cmd.PersistentFlags().String("pki-dir", "", "an API server's pki-dir, for the certificates")
	config := func() (etcd.Config, error) {
		if len(*servers) == 0 || *dir == "" {
			return etcd.Config{}, errors.New("name members with --servers, and the certificates with --pki-dir")
		}
		file := filepath.Join(*dir, "etcd", "client")
		return etcd.Config{Servers: *servers, CAFile: filepath.Join(*dir, "etcd", "ca.crt"), CertFile: file + ".crt", KeyFile: file + ".key"}, nil
	}
	member := &cobra.Command{Use: "member", Short: cmd.Short, Args: cobra.NoArgs, Run: cmd.Run}
	list := &cobra.Command{Use: "list", Short: "List etcd's members", Args: cobra.NoArgs}
	list.RunE = own(func(cmd *cobra.Command, _ []string) error {
		c, err := config()
		if err != nil {
			return err
		}
		members, err := etcd.ListMembers(cmd.Context(), c)
		for _, m := range members {
			fmt.Fprintln(cmd.OutOrStdout(), m)
		}
		return err
	})
	replace := &cobra.Command{Use: "replace NAME", Short: "Let a member whose data is lost begin anew", Args: cobra.ExactArgs(1),
		Long: `Remove a member whose data is lost, and add one at the same address. Then start its API
server with an empty data directory and --etcd-initial-cluster-state=existing.`}
	replace.RunE = own(func(cmd *cobra.Command, args []string) error {
		c, err := config()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), membersPatience)
		defer cancel()
		if err := etcd.ReplaceMember(ctx, c, args[0]); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "member %s replaced\n", args[0])
		return err
	})
	member.AddCommand(list, replace)
	cmd.AddCommand(member)
	return cmd
}
