package garbagecollector

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// state is what became of an owner.
type state int

const (
	solid   state = iota // is there and stays
	waiting              // is being deleted, and waits for its dependents
	absent               // is not there
)

// action is what to do with an object whose owners' states are known.
type action struct {
	drop   []types.UID // remove these owner references
	remove bool        // delete the object …
	policy metav1.DeletionPropagation
}

// decide is the rule of the garbage collector.
func decide(owners map[types.UID]state, finalizers []string, hasDependents bool) action {
	var stays, waits bool
	var drop []types.UID
	for uid, s := range owners {
		stays = stays || s == solid
		waits = waits || s == waiting
		if s != solid {
			drop = append(drop, uid)
		}
	}
	slices.Sort(drop)
	switch {
	case len(owners) == 0:
		return action{}
	case stays:
		// One owner is enough to live. The others are forgotten, and so no longer blocked.
		return action{drop: drop}
	case waits && hasDependents:
		// The owner waits for us, and through us for those below.
		return action{remove: true, policy: metav1.DeletePropagationForeground}
	// What the object's own finalizers say was asked for when somebody deleted it before.
	case slices.Contains(finalizers, metav1.FinalizerOrphanDependents):
		return action{remove: true, policy: metav1.DeletePropagationOrphan}
	case slices.Contains(finalizers, metav1.FinalizerDeleteDependents):
		return action{remove: true, policy: metav1.DeletePropagationForeground}
	default:
		return action{remove: true, policy: metav1.DeletePropagationBackground}
	}
}
