package api

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Deletion is what a DELETE request comes to.
type Deletion int

const (
	DeleteNow     Deletion = iota // remove the object from the store
	DeleteMarked                  // write the object: it now carries a deletionTimestamp, others finish the job
	DeletePending                 // nothing to do: an earlier DELETE is still under way
)

// BeforeDelete decides what deleting obj means and marks it where something has to
// happen first: an agent must stop it (a Pod's grace period) or finalizers must be
// removed. asked is the client's gracePeriodSeconds. The API server has already added
// the finalizers that the propagation policy asks for.
//
// Upstream counterpart: rest.BeforeDelete and the registry's
// updateForGracefulDeletionAndFinalizers.
func (k *Kind) BeforeDelete(obj Object, asked *int64, now time.Time) Deletion {
	pending := obj.GetDeletionTimestamp() != nil && gracePeriod(obj) == 0
	if k.GracePeriod != nil {
		if obj.GetDeletionTimestamp() != nil {
			if d := shorten(obj, asked); d != DeleteNow {
				return d
			}
		} else if grace := k.GracePeriod(obj, asked); grace > 0 {
			k.mark(obj, now, grace)
			return DeleteMarked
		}
	}
	if len(obj.GetFinalizers()) == 0 && !k.held(obj) {
		return DeleteNow
	}
	if pending {
		return DeletePending
	}
	k.mark(obj, now, 0)
	return DeleteMarked
}

// Finished tells that a marked object has nothing left to wait for: the update that
// makes it so removes it from the store.
func (k *Kind) Finished(obj Object) bool {
	return obj.GetDeletionTimestamp() != nil && gracePeriod(obj) == 0 &&
		len(obj.GetFinalizers()) == 0 && !k.held(obj)
}

// shorten handles a further DELETE during the grace period, which can only make it
// shorter. DeleteNow means that the waiting is over.
func shorten(obj Object, asked *int64) Deletion {
	grace := gracePeriod(obj)
	switch {
	case grace == 0:
		return DeleteNow
	case asked == nil || *asked >= grace:
		return DeletePending
	}
	wanted := *asked
	if wanted < 0 {
		wanted = 1
	}
	started := obj.GetDeletionTimestamp().Add(-time.Duration(grace) * time.Second)
	end := metav1.NewTime(started.Add(time.Duration(wanted) * time.Second))
	obj.SetDeletionTimestamp(&end)
	obj.SetDeletionGracePeriodSeconds(&wanted)
	if wanted == 0 {
		return DeleteNow
	}
	return DeleteMarked
}

func (k *Kind) mark(obj Object, now time.Time, grace int64) {
	// Whoever acts on a spec acts differently on a deleted object: a new generation.
	if first := obj.GetDeletionTimestamp() == nil; first && obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	end := metav1.NewTime(now.Add(time.Duration(grace) * time.Second).Truncate(time.Second))
	obj.SetDeletionTimestamp(&end)
	obj.SetDeletionGracePeriodSeconds(&grace)
	if k.PrepareDelete != nil {
		k.PrepareDelete(obj)
	}
}

func (k *Kind) held(obj Object) bool { return k.Held != nil && k.Held(obj) }

func gracePeriod(obj Object) int64 {
	if p := obj.GetDeletionGracePeriodSeconds(); p != nil {
		return *p
	}
	return 0
}
