// Upstream is the real kube-apiserver with an etcd in the same process, for package
// apidiff to ask. It is a module of its own, so that what it links stays out of the
// project's; scripts/record-apidiff builds it.
//
//	upstream DATA-DIR [flags of kube-apiserver]
package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: upstream DATA-DIR [flags of kube-apiserver]")
		os.Exit(2)
	}
	endpoint, err := startEtcd(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "start etcd:", err)
		os.Exit(1)
	}
	command := app.NewAPIServerCommand()
	command.SetArgs(append([]string{"--etcd-servers=" + endpoint}, os.Args[2:]...))
	os.Exit(cli.Run(command))
}

// startEtcd serves clients on a socket in dir. It ends with the process.
func startEtcd(dir string) (endpoint string, err error) {
	client := url.URL{Scheme: "unix", Path: filepath.Join(dir, "client.sock")}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(dir, "peer.sock")}
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(dir, "etcd")
	cfg.LogLevel = "error"
	cfg.UnsafeNoFsync = true
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return "", err
	}
	<-server.Server.ReadyNotify()
	return client.String(), nil
}
