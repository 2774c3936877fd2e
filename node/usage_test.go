package node

import (
	"testing"
	"time"
)

func TestMachineUsage(t *testing.T) {
	const meminfo = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n"
	u, err := machineUsage("cpu  100 20 30 5000 600 7 8 9 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n", meminfo)
	if err != nil || u.CPU != 1740*time.Millisecond || u.Memory != 600<<10 {
		t.Errorf("%+v, %v", u, err)
	}
	for _, bad := range [][2]string{{"", meminfo}, {"cpu  1 2 3", meminfo}, {"cpu  a 2 3 4 5 6 7 8", meminfo}, {"cpu  1 2 3 4 5 6 7 8", ""}} {
		if _, err := machineUsage(bad[0], bad[1]); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}
