package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// ListMembers asks the etcd cluster at cfg.Servers who is in it: NAME=URL each, and the
// bare URL of one that was added and has not started yet.
func ListMembers(ctx context.Context, cfg Config) ([]string, error) {
	m, err := dialMembers(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	answer, err := m.client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list etcd's members: %w", err)
	}
	var lines []string
	for _, member := range answer.Members {
		for _, url := range member.PeerURLs {
			if member.Name != "" {
				url = member.Name + "=" + url
			}
			lines = append(lines, url)
		}
	}
	return lines, nil
}

// ReplaceMember removes a member whose data is lost, and adds one at the same URLs,
// which may then start with an empty directory and initial-cluster-state existing.
func ReplaceMember(ctx context.Context, cfg Config, name string) error {
	m, err := dialMembers(ctx, cfg)
	if err != nil {
		return err
	}
	defer m.Close()
	answer, err := m.client.MemberList(ctx)
	if err != nil {
		return fmt.Errorf("list etcd's members: %w", err)
	}
	var lost *etcdserverpb.Member
	for _, member := range answer.Members {
		if member.Name == name {
			lost = member
		}
	}
	if lost == nil {
		return fmt.Errorf("etcd has no member %q: ctl etcd member list shows whom it has", name)
	}
	err = healthy(ctx, func() error { _, err := m.client.MemberRemove(ctx, lost.ID); return err })
	if err != nil {
		return fmt.Errorf("remove member %s: %w", name, err)
	}
	err = healthy(ctx, func() error { _, err := m.client.MemberAdd(ctx, lost.PeerURLs); return err })
	if err != nil {
		return fmt.Errorf("member %s is removed, but not yet added again at %q: %w", name, lost.PeerURLs, err)
	}
	return nil
}

// healthy tries again while etcd finds itself too unhealthy to change its members: for
// some seconds after any two of them have found each other.
func healthy(ctx context.Context, change func() error) error {
	for {
		err := change()
		if !errors.Is(err, rpctypes.ErrUnhealthy) {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

// dialMembers connects to administer, which leaves compaction to those who store.
func dialMembers(ctx context.Context, cfg Config) (*Member, error) {
	cfg.CompactionInterval = -1
	return dial(ctx, cfg, slog.Default())
}
