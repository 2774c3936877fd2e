package lab

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The address in kubeconfig.lab is the lab's own. On the machine's network it may be
// anybody's, or a route to somewhere else, so the file says where it is not good: in the
// network namespace of the machine.

// insideExtension is the cluster's extension in the file.
const insideExtension = "lab.orrery.example.org"

// inside is what the extension says.
type inside struct {
	Lab     string `json:"lab"`
	NotFrom string `json:"notFrom"` // a network namespace, as /proc names it: "net:[4026531840]"
}

// ownNetwork names the network namespace that this program is in, "" if that cannot be
// known.
func ownNetwork() string {
	name, _ := os.Readlink("/proc/self/ns/net")
	return name
}

// markInside notes in a kubeconfig that it is good inside the lab only.
func markInside(path, lab string) error {
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return fmt.Errorf("read back %s: %w", path, err)
	}
	note, err := json.Marshal(inside{Lab: lab, NotFrom: ownNetwork()})
	if err != nil {
		return err
	}
	for _, cluster := range config.Clusters {
		cluster.Extensions = map[string]runtime.Object{insideExtension: &runtime.Unknown{Raw: note, ContentType: runtime.ContentTypeJSON}}
	}
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// CheckNetwork refuses a cluster that is inside a lab, from a program that is not: not
// even a packet is sent to its address.
func CheckNetwork(cluster *clientcmdapi.Cluster) error {
	if cluster == nil {
		return nil
	}
	unknown, ok := cluster.Extensions[insideExtension].(*runtime.Unknown)
	if !ok {
		return nil
	}
	var note inside
	if err := json.Unmarshal(unknown.Raw, &note); err != nil {
		return fmt.Errorf("read what the kubeconfig says about its lab: %w", err)
	}
	if note.NotFrom == "" || note.NotFrom != ownNetwork() {
		return nil
	}
	hint := "its file \"kubeconfig\" is for programs on this machine"
	if state, err := StateOf(note.Lab); err == nil {
		hint = fmt.Sprintf("on this machine use %s", state.Kubeconfig())
	}
	return fmt.Errorf("%s is an address inside of the lab %q, and this program runs outside of it: %s, or run the program inside (\"ctl on node1 -- …\")",
		cluster.Server, note.Lab, hint)
}
