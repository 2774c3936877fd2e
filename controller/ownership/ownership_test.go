package ownership

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

func owner(uid string, deleting bool) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: types.UID(uid)}}
	if deleting {
		rs.DeletionTimestamp = &metav1.Time{}
	}
	return rs
}

func pod(name, app string, of *appsv1.ReplicaSet) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": app}}}
	if of != nil {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(of, kind)}
	}
	return p
}

func TestDecide(t *testing.T) {
	selector := labels.SelectorFromSet(labels.Set{"app": "web"})
	me, gone, other := owner("me", false), owner("me", true), owner("other", false)
	ending := pod("p", "web", nil)
	ending.DeletionTimestamp = &metav1.Time{}
	for _, row := range []struct {
		what     string
		owner    *appsv1.ReplicaSet
		selector labels.Selector
		pod      *corev1.Pod
		want     Verdict
	}{
		{"mine", me, selector, pod("p", "web", me), Keep},
		{"mine no longer", me, selector, pod("p", "debug", me), Release},
		{"mine no longer, but I am going", gone, selector, pod("p", "debug", me), Ignore},
		{"mine, and I am going", gone, selector, pod("p", "web", me), Keep},
		{"another's", me, selector, pod("p", "web", other), Ignore},
		{"an orphan that matches", me, selector, pod("p", "web", nil), Adopt},
		{"an orphan that does not", me, selector, pod("p", "debug", nil), Ignore},
		{"an orphan, but I am going", gone, selector, pod("p", "web", nil), Ignore},
		{"an orphan that is going", me, selector, ending, Ignore},
		{"an empty selector adopts nothing", me, labels.Everything(), pod("p", "web", nil), Ignore},
	} {
		if got := Decide(row.owner, row.selector, row.pod); got != row.want {
			t.Errorf("%s: %v, want %v", row.what, got, row.want)
		}
	}
}

func TestClaim(t *testing.T) {
	me := owner("me", false)
	pods := []*corev1.Pod{pod("kept", "web", me), pod("orphan", "web", nil), pod("second", "web", nil), pod("strayed", "debug", me)}
	for _, row := range []struct {
		name    string
		fresh   *appsv1.ReplicaSet // what the API server says of the owner
		mine    []string
		patched []string
		wantErr string
	}{
		{"adopts and releases", me, []string{"kept", "orphan", "second"}, []string{"orphan", "second", "strayed"}, ""},
		{"does not adopt once deleted", owner("me", true), []string{"kept"}, []string{"strayed"}, "has just been deleted"},
		{"does not adopt once replaced", owner("successor", false), []string{"kept"}, []string{"strayed"}, "is gone: got uid successor, wanted me"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var patched []string
			asked := 0
			c := Claimer[*corev1.Pod]{
				Owner: me, Kind: kind, Selector: labels.SelectorFromSet(labels.Set{"app": "web"}),
				Fresh: func(context.Context) (metav1.Object, error) { asked++; return row.fresh, nil },
				Patch: func(_ context.Context, p *corev1.Pod, patch []byte) error {
					patched = append(patched, p.Name)
					if !strings.Contains(string(patch), `"uid":"`+p.Name+`"`) {
						return errors.New("the patch may hit another Pod: " + string(patch))
					}
					return nil
				},
			}
			got, err := c.Claim(t.Context(), pods)
			var mine []string
			for _, p := range got {
				mine = append(mine, p.Name)
			}
			if !slices.Equal(mine, row.mine) || !slices.Equal(patched, row.patched) || asked != 1 {
				t.Errorf("mine %q, patched %q, asked %d times", mine, patched, asked)
			}
			if (err == nil) != (row.wantErr == "") || err != nil && !strings.Contains(err.Error(), row.wantErr) {
				t.Errorf("error %v, want %q", err, row.wantErr)
			}
		})
	}
}
