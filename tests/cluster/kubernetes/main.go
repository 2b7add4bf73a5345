// Command kubernetes is what one node of Kubernetes runs, with an etcd and kubectl, in one program.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var programs = map[string]func() *cobra.Command{
	"etcd":                    etcd,
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-proxy":              func() *cobra.Command { return proxy.NewProxyCommand() },
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 func() *cobra.Command { return kubectl.NewDefaultKubectlCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

// The first argument chooses the program; the others are the program's.
func main() {
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: kubernetes PROGRAM [ARGUMENTS]")
		os.Exit(2)
	}
	os.Args = os.Args[1:]
	os.Exit(cli.Run(programs[os.Args[0]]()))
}

func etcd() *cobra.Command {
	return &cobra.Command{
		Use:  "etcd FOLDER URL",
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			client, err := url.Parse(args[1])
			if err != nil {
				return err
			}
			config := embed.NewConfig()
			config.Dir = args[0]
			config.LogLevel = "error"
			config.UnsafeNoFsync = true
			config.ListenClientUrls = []url.URL{*client}
			config.AdvertiseClientUrls = config.ListenClientUrls
			config.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: "peer"}}
			server, err := embed.StartEtcd(config)
			if err != nil {
				return err
			}
			return <-server.Err()
		},
	}
}
