package network

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"orrery.example.org/host"
)

// Follow keeps the routes to all nodes' Pods on a machine that is no node itself, until
// ctx ends: the API server sends to Pods as well (kubectl get --raw …/proxy/).
func Follow(ctx context.Context, h *host.Host, client kubernetes.Interface, log *slog.Logger) error {
	links, err := h.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer links.Close()
	changed := make(chan struct{}, 1)
	poke := func(any) {
		select {
		case changed <- struct{}{}:
		default: // one is there already
		}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes()
	if _, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: poke, UpdateFunc: func(_, o any) { poke(o) }, DeleteFunc: poke,
	}); err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	repair := time.NewTicker(RepairInterval)
	defer repair.Stop()
	for ways := Direct(links); ; {
		select {
		case <-ctx.Done():
			return nil // the routes stay, as a node's Services do without its proxy
		case <-changed:
		case <-repair.C:
		}
		all, err := nodes.Lister().List(labels.Everything())
		if err == nil && nodes.Informer().HasSynced() {
			err = ways.Set(Peers(all, ""))
		}
		if err != nil {
			log.Warn("keep the routes to Pods", "err", err)
		}
	}
}
