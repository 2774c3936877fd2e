package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"orrery.example.org/controller/loop"
)

// The lease that managers compete for, with upstream's name and times. A leader that
// cannot renew it for renewDeadline stops, before leaseDuration has passed and another
// may start.
const (
	leaseName     = "kube-controller-manager"
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// errLeadershipLost ends Run: what the caches hold may be old by now, and a new start
// is the simplest way to a clean state.
var errLeadershipLost = errors.New("controller: leader election lost")

// lead runs work while this manager holds the lease. The lease is given back only
// after the work has ended, so that the next leader can start at once and never beside
// this one.
func (m *Manager) lead(ctx context.Context, work func(context.Context) error) error {
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	events := loop.StartEvents(holding, m.client)
	defer events.Close()

	elected := make(chan context.Context, 1)
	elector, err := m.elector(events, elected)
	if err != nil {
		return fmt.Errorf("controller: leader election: %w", err)
	}
	var election sync.WaitGroup
	election.Go(func() { elector.Run(holding) })
	defer election.Wait()
	defer release() // runs before the wait

	select {
	case <-ctx.Done():
		return nil
	case leading := <-elected:
		leading, cancel := context.WithCancel(leading) // ends when the lease cannot be renewed …
		defer cancel()
		defer context.AfterFunc(ctx, cancel)() // … or when we are asked to stop
		err := work(leading)
		if err == nil && ctx.Err() == nil {
			err = errLeadershipLost
		}
		return err
	}
}

// elector competes for the lease and sends the context of its reign.
func (m *Manager) elector(events *loop.Events, elected chan<- context.Context) (*leaderelection.LeaderElector, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: leaseName},
			Client:    m.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{
				Identity:      host + "_" + string(uuid.NewUUID()),
				EventRecorder: events.Recorder(leaseName),
			},
		},
		LeaseDuration:   leaseDuration,
		RenewDeadline:   renewDeadline,
		RetryPeriod:     retryPeriod,
		ReleaseOnCancel: true,
		Name:            leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { elected <- ctx },
			OnStoppedLeading: func() {},
		},
	})
}
