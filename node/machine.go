package node

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// facts is what the agent knows about its machine.
type facts struct {
	resources corev1.ResourceList
	info      corev1.NodeSystemInfo
	limits    string // whether Pods' limits hold here
}

// machineFacts asks the machine. The nodes of a lab in one process all have the
// whole machine, as do those of kind.
func machineFacts(stateDir string) (facts, error) {
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		return facts{}, fmt.Errorf("ask for the machine's memory: %w", err)
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return facts{}, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	if err := os.MkdirAll(stateDir, 0o755); err != nil {
		return facts{}, err
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(stateDir, &disk); err != nil {
		return facts{}, fmt.Errorf("ask for the space in %s: %w", stateDir, err)
	}
	return facts{
		resources: corev1.ResourceList{
			corev1.ResourceCPU:              *quantity(int64(runtime.NumCPU())),
			corev1.ResourceMemory:           *resource.NewQuantity(int64(memory.Totalram)*int64(memory.Unit), resource.BinarySI),
			corev1.ResourceEphemeralStorage: *resource.NewQuantity(int64(disk.Blocks)*disk.Bsize, resource.BinarySI),
		},
		info: corev1.NodeSystemInfo{
			MachineID:               line("/etc/machine-id"),
			SystemUUID:              line("/etc/machine-id"),
			BootID:                  line("/proc/sys/kernel/random/boot_id"),
			KernelVersion:           unix.ByteSliceToString(kernel.Release[:]),
			OSImage:                 osImage(readOrEmpty("/etc/os-release")),
			ContainerRuntimeVersion: "orrery://" + strings.TrimPrefix(Version, "v"),
			KubeletVersion:          Version,
			OperatingSystem:         runtime.GOOS,
			Architecture:            runtime.GOARCH,
		},
	}, nil
}

// osImage finds the system's name in /etc/os-release.
func osImage(release string) string {
	for line := range strings.Lines(release) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Linux"
}

func line(path string) string { return strings.TrimSpace(readOrEmpty(path)) }

func quantity(n int64) *resource.Quantity { return resource.NewQuantity(n, resource.DecimalSI) }
