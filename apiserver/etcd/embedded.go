package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

func init() {
	// etcd allocates two segments of 64 MB when it starts and keeps five. That suits a
	// large cluster; a lab may live on a tmpfs.
	wal.SegmentSizeBytes = 16 << 20
}

// startEmbedded runs etcd inside this process, on cfg.DataDir.
func startEmbedded(ctx context.Context, cfg Config, log *slog.Logger) (*Member, error) {
	if err := cfg.Peers.validate(); err != nil {
		return nil, err
	}
	dir, err := openDataDir(cfg.DataDir, cfg.member())
	if err != nil {
		return nil, err
	}
	fault := newFault(log)
	start := launch
	if cfg.Peers.any() {
		start = launchWithPeers
	}
	server, err := start(ctx, cfg, dir, fault)
	if err != nil {
		dir.close()
		return nil, err
	}
	client := v3client.New(server.Server)
	if cfg.ReserveBytes > 0 {
		client.KV = &guardedKV{KV: client.KV, dir: cfg.DataDir, reserve: cfg.ReserveBytes}
	}
	m := &Member{client: client, failed: fault.c, err: fault.get}
	if cfg.Peers.any() {
		electing := election{server.Server}
		client.KV, client.Lease = &ledKV{client.KV, electing}, &ledLease{client.Lease, electing}
	} else {
		m.revision = applied(server, fault)
	}
	m.close = sync.OnceFunc(func() {
		client.Close()
		stop(server, fault)
		dir.close()
	})
	return m, nil
}

// applied tells the revision of a member without peers.
func applied(server *embed.Etcd, fault *fault) func(context.Context) (int64, error) {
	return func(context.Context) (int64, error) {
		if err := fault.get(); err != nil {
			return 0, err
		}
		// This process is the only way to this etcd, and a write is acknowledged after
		// it was applied here: what is applied now is all there is.
		return server.Server.KV().Rev(), nil
	}
}

// launch starts the server and waits until it leads.
func launch(ctx context.Context, cfg Config, dir *dataDir, fault *fault) (*embed.Etcd, error) {
	ec := embedConfig(cfg)
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(fault.logger())
	if !dir.format.Complete {
		if err := prepare(ctx, *ec, fault); err != nil {
			return nil, fmt.Errorf("make a new etcd in %s: %w", cfg.DataDir, err)
		}
		if err := dir.complete(); err != nil {
			return nil, err
		}
	}
	server, err := run(ctx, *ec, fault)
	if err != nil {
		return nil, fmt.Errorf("start etcd on %s: %w; if the directory is damaged, restore a copy of it, "+
			"or move it away to begin with an empty cluster", cfg.DataDir, err)
	}
	return server, nil
}

// prepare runs a new member once, just long enough to leave a raft snapshot. Without
// one etcd cuts the first entry off its log while it replays that log at a restart,
// and raft panics if an election looks for it in that moment.
func prepare(ctx context.Context, ec embed.Config, fault *fault) error {
	durable := !ec.UnsafeNoFsync
	ec.SnapshotCount, ec.UnsafeNoFsync = 1, true // the files are synced all at once, below
	server, err := run(ctx, ec, fault)
	if err != nil {
		return err
	}
	select {
	case <-server.Server.ReadyNotify(): // the third entry of the log is applied
	case <-fault.c:
	case <-ctx.Done():
	}
	stop(server, fault)
	if err := errors.Join(fault.get(), ctx.Err()); err != nil {
		return err
	}
	if found, err := filepath.Glob(filepath.Join(server.Server.Cfg.SnapDir(), "*.snap")); err != nil || len(found) == 0 {
		return errors.New("etcd wrote no snapshot")
	}
	if durable {
		return syncTree(server.Server.Cfg.MemberDir())
	}
	return nil
}

// run starts a server and makes it lead.
func run(ctx context.Context, ec embed.Config, fault *fault) (*embed.Etcd, error) {
	if err := awaitLog(ctx, filepath.Join(ec.Dir, memberDir)); err != nil {
		return nil, err
	}
	server, err := guarded(fault, func() (*embed.Etcd, error) { return embed.StartEtcd(&ec) })
	if err != nil {
		return nil, err
	}
	if err := lead(ctx, server.Server, fault); err != nil {
		stop(server, fault)
		return nil, err
	}
	return server, nil
}

// embedConfig is a single member that nobody can reach but through this process.
func embedConfig(cfg Config) *embed.Config {
	ec := baseConfig(cfg)
	ec.Name = "orrery"
	ec.ListenPeerUrls = nil
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	ec.PreVote = false // there is nobody to ask

	// A snapshot of raft's state (not of the data) every so often keeps the log short
	// that is replayed at the next start. The log in memory is for followers that fall
	// behind, and there are none; but while a replay is being applied raft still reads
	// it, so it must be longer than a replay can be: a snapshot's worth and the 5000
	// entries by which etcd lets writing run ahead of applying.
	ec.SnapshotCount, ec.SnapshotCatchUpEntries = 2500, 7500
	return ec
}

// baseConfig is what members have in common, with and without peers. Of several, only the
// leader compacts.
func baseConfig(cfg Config) *embed.Config {
	ec := embed.NewConfig()
	ec.Dir = cfg.DataDir
	ec.ListenClientUrls = nil
	ec.EnableGRPCGateway = false
	ec.UnsafeNoFsync = cfg.UnsafeNoFsync
	ec.QuotaBackendBytes = cfg.QuotaBytes
	ec.AutoCompactionMode = embed.CompactorModePeriodic
	if cfg.CompactionInterval > 0 {
		ec.AutoCompactionRetention = cfg.CompactionInterval.String()
	}
	return ec
}

// lead makes the only member the leader now. It would come to that by itself after an
// election timeout, but a short timeout means many ticks a second for ever after (at
// 2 ms ticks 3 % of a core), so instead the member is told, in the words in which a
// leader hands over to a follower, to stand for election at once.
func lead(ctx context.Context, server *etcdserver.EtcdServer, fault *fault) error {
	self := uint64(server.MemberID())
	handOver := &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), To: &self, From: &self}
	retry := time.NewTicker(time.Millisecond)
	defer retry.Stop()
	for uint64(server.Leader()) == raft.None {
		if err := server.Process(ctx, handOver); err != nil {
			return fmt.Errorf("stand for election: %w", err)
		}
		select {
		case <-retry.C: // ignored while the first entries of the log are not applied yet
		case <-fault.c:
			return fault.get()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// guarded runs f, and makes an error of whatever way it ends: etcd panics, or logs a
// fatal line, on much of what can be wrong with its files, and reading a truncated
// database through its memory map is a fault of memory.
func guarded[T any](fault *fault, f func() (T, error)) (T, error) {
	type outcome struct {
		result T
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		o := outcome{err: errors.New("etcd gave up without a word")}
		defer func() {
			if r := recover(); r != nil {
				o.err = fmt.Errorf("etcd cannot read its files: %v", r)
			} else if err := fault.get(); err != nil && o.err != nil {
				o.err = err // the log's fatal line ended this goroutine
			}
			done <- o
		}()
		debug.SetPanicOnFault(true)
		o.result, o.err = f()
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-fault.c:
	}
	// If the fatal line ended another goroutine, this one may wait for that for ever.
	select {
	case o := <-done:
		return o.result, o.err
	case <-time.After(time.Second):
		var none T
		return none, fault.get()
	}
}

// stop ends the server. One that has failed may hold locks for ever, so it is not
// waited for long.
func stop(server *embed.Etcd, fault *fault) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Close()
	}()
	select {
	case <-done:
	case <-fault.c:
		select {
		case <-done:
		case <-time.After(time.Second):
		}
	}
}
