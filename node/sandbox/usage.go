package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what the processes of a place use.
type Usage struct {
	CPU    time.Duration // since they were started, with that of children that have ended
	Memory int64         // resident, in bytes; pages that they share count for each
}

// clockTick is the unit of CPU times in /proc: USER_HZ, which is 100 everywhere.
const clockTick = 10 * time.Millisecond

// Usages looks at all processes once. The result is by mount namespace, of which every run
// of a container has one of its own (Place.MountNS).
//
// Kubernetes: reads cgroups, which count also what has ended and nobody waited for.
func Usages() (map[string]Usage, error) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := map[string]Usage{}
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		dir := filepath.Join("/proc", p.Name())
		namespace, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
		if err != nil {
			continue // it ended, or is somebody else's
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		used, err := parseUsage(string(stat))
		if err != nil {
			return nil, fmt.Errorf("%s/stat: %w", dir, err)
		}
		sum := all[namespace]
		all[namespace] = Usage{sum.CPU + used.CPU, sum.Memory + used.Memory}
	}
	return all, nil
}

// parseUsage reads /proc/PID/stat.
func parseUsage(stat string) (Usage, error) {
	// The second field is the program's name in brackets and may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const utime, cstime, rss = 11, 14, 21 // 14, 17 and 24 in proc(5), counted from the third
	if len(fields) <= rss {
		return Usage{}, fmt.Errorf("%d fields are too few", len(fields))
	}
	var ticks, pages int64
	var errs []error
	for i := utime; i <= cstime; i++ {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		ticks, errs = ticks+n, append(errs, err)
	}
	pages, err := strconv.ParseInt(fields[rss], 10, 64)
	return Usage{time.Duration(ticks) * clockTick, pages * int64(os.Getpagesize())}, errors.Join(append(errs, err)...)
}

// MountNS is the name of the place's mount namespace, as /proc has it.
func (l *Place) MountNS() (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", l.host.MountNS().Fd()))
}
