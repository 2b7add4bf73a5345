// Command apiserver is Kubernetes' API server with an etcd of its own, for the chart's tests.
package main

import (
	"fmt"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// The first two arguments are etcd's folder and address; the others are the API server's.
func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: apiserver FOLDER ETCD_URL [FLAGS OF KUBE-APISERVER]")
		os.Exit(2)
	}
	if err := startEtcd(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	command := app.NewAPIServerCommand()
	command.SetArgs(append([]string{"--etcd-servers=" + os.Args[2]}, os.Args[3:]...))
	os.Exit(cli.Run(command))
}

func startEtcd(folder, address string) error {
	client, err := url.Parse(address)
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	config.ListenClientUrls = []url.URL{*client}
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: "peer"}}
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	<-etcd.Server.ReadyNotify()
	return nil
}
