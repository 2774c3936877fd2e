package apiserver

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/version"
)

// Version is the Kubernetes version whose API is served. Set by -ldflags.
var (
	Version   = "v1.37.2+orrery"
	GitCommit = ""
	BuildDate = ""
)

// previous is the release before, whose clients and peers are still understood.
func previous(minor string) string {
	n, err := strconv.Atoi(minor)
	if err != nil {
		return minor
	}
	return strconv.Itoa(n - 1)
}

// version answers what `kubectl version` shows.
func (h *handlers) version(w http.ResponseWriter, r *http.Request) error {
	major, rest, _ := strings.Cut(strings.TrimPrefix(Version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	body, err := json.MarshalIndent(version.Info{
		Major: major, Minor: minor, GitVersion: Version, GitCommit: GitCommit, GitTreeState: "clean", BuildDate: BuildDate,
		EmulationMajor: major, EmulationMinor: minor, MinCompatibilityMajor: major, MinCompatibilityMinor: previous(minor),
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}, "", "  ")
	if err != nil {
		return err
	}
	return write(w, r, http.StatusOK, accept{}, [][]byte{body})
}
