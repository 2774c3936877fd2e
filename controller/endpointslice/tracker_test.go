package endpointslice

import (
	"testing"
	"testing/synctest"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/controller/loop"
)

func slice(uid, version string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: uid, UID: types.UID(uid), ResourceVersion: version}}
}

func TestTracker(t *testing.T) {
	svc := loop.Name{Namespace: "default", Name: "web"}
	cached := func(s ...*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice { return s }
	step := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v", what, got)
		}
	}

	tr := newTracker()
	tr.wrote(svc, slice("a", "10"))
	step("made but not in the cache: stale", tr.stale(svc, nil), true)
	step("our write arrives: the waiting sync is due", tr.saw(svc, slice("a", "10"), false), true)
	step("in the cache", tr.stale(svc, cached(slice("a", "10"))), false)

	tr.wrote(svc, slice("a", "20"))
	step("our write arrives and nobody waits", tr.saw(svc, slice("a", "20"), false), false)
	step("an event that is nobody's of ours", tr.saw(svc, slice("a", "21"), false), true)

	tr.wrote(svc, slice("a", "30"))
	step("an older version in the cache: stale", tr.stale(svc, cached(slice("a", "21"))), true)
	step("a newer one: not", tr.stale(svc, cached(slice("a", "31"))), false)
	step("somebody wrote after us", tr.saw(svc, slice("a", "31"), false), true)

	tr.deleted(svc, slice("a", "31"))
	step("deleted but in the cache: stale", tr.stale(svc, cached(slice("a", "31"))), true)
	step("its deletion arrives", tr.saw(svc, slice("a", "31"), true), true)
	step("gone from the cache", tr.stale(svc, nil), false)
	step("somebody else deletes one", tr.saw(svc, slice("b", "40"), true), true)

	tr.wrote(svc, slice("c", "50"))
	tr.forget(svc)
	step("a forgotten Service", tr.stale(svc, nil), false)
}

// TestTrackerGivesUp: a write whose event never comes must not block a Service for ever.
func TestTrackerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := loop.Name{Namespace: "default", Name: "web"}
		tr := newTracker()
		tr.wrote(svc, slice("a", "10"))
		time.Sleep(trackerTimeout)
		if !tr.stale(svc, nil) {
			t.Error("gave up too early")
		}
		time.Sleep(time.Second)
		if tr.stale(svc, nil) {
			t.Error("did not give up")
		}
	})
}
