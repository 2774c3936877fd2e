package deployment

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/dump"
)

// Annotations on the ReplicaSets of a Deployment. kubectl's rollout history and undo
// read the first two; proportional scaling the others.
const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation             = "deployment.kubernetes.io/max-replicas"
)

// maxHistoryLength bounds the revision-history annotation, in characters.
const maxHistoryLength = 2000

// revisions is a Deployment's ReplicaSets: the one of the current template, nil until
// it is made, and the others, oldest first.
type revisions struct {
	now *appsv1.ReplicaSet
	old []*appsv1.ReplicaSet
}

// sortRevisions tells the ReplicaSets of a Deployment apart. Where several have the
// current template, the oldest is it: all managers then agree.
func sortRevisions(d *appsv1.Deployment, all []*appsv1.ReplicaSet) revisions {
	all = slices.Clone(all)
	slices.SortFunc(all, olderFirst)
	var r revisions
	for _, rs := range all {
		if r.now == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			r.now = rs
		} else {
			r.old = append(r.old, rs)
		}
	}
	return r
}

// all lists the ReplicaSets, the current one last.
func (r revisions) all() []*appsv1.ReplicaSet {
	all := slices.Clone(r.old)
	if r.now != nil {
		all = append(all, r.now)
	}
	return all
}

// next is the revision number of the current template: one above all others, so that
// a rollback to revision 1 makes it revision 3.
func (r revisions) next() int64 {
	var highest int64
	for _, rs := range r.old {
		highest = max(highest, revisionOf(rs))
	}
	return highest + 1
}

func olderFirst(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return apiequality.Semantic.DeepEqual(a, b)
}

func revisionOf(obj metav1.Object) int64 {
	n, err := strconv.ParseInt(obj.GetAnnotations()[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Hash names a template: FNV-1a over its dump, in an alphabet without vowels. It is
// upstream's to the bit, so that a cluster's ReplicaSets keep their names whoever
// manages them. collisions is the Deployment's count of names found taken.
func Hash(template *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(dump.ForHash(*template)))
	if collisions != nil {
		var b [8]byte
		binary.LittleEndian.PutUint32(b[:], uint32(*collisions))
		_, _ = h.Write(b[:])
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// newReplicaSet is the ReplicaSet for the Deployment's current template.
func newReplicaSet(d *appsv1.Deployment, r revisions) *appsv1.ReplicaSet {
	template := d.Spec.Template.DeepCopy()
	hash := Hash(template, d.Status.CollisionCount)
	metav1.SetMetaDataLabel(&template.ObjectMeta, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = maps.Clone(selector.MatchLabels)
	metav1.AddLabelToSelector(selector, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:            d.Name + "-" + hash,
			Namespace:       d.Namespace,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, Kind)},
			Labels:          maps.Clone(template.Labels),
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        new(int32),
			MinReadySeconds: d.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        *template,
		},
	}
	*rs.Spec.Replicas = newReplicas(d, revisions{now: rs, old: r.old})
	annotate(d, rs, r.next())
	annotateSize(d, rs)
	return rs
}

// notCopied are the Deployment's annotations that its ReplicaSets do not inherit.
var notCopied = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true,
	revisionAnnotation:                 true,
	revisionHistoryAnnotation:          true,
	desiredAnnotation:                  true,
	maxAnnotation:                      true,
	appsv1.DeprecatedRollbackTo:        true,
}

// annotate gives the current ReplicaSet the Deployment's annotations (among them
// kubernetes.io/change-cause) and its revision, and reports whether that changed it.
func annotate(d *appsv1.Deployment, rs *appsv1.ReplicaSet, revision int64) bool {
	before := maps.Clone(rs.Annotations)
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for k, v := range d.Annotations {
		if !notCopied[k] {
			rs.Annotations[k] = v
		}
	}
	was, had := rs.Annotations[revisionAnnotation]
	if revisionOf(rs) < revision {
		rs.Annotations[revisionAnnotation] = strconv.FormatInt(revision, 10)
		if had {
			rs.Annotations[revisionHistoryAnnotation] = appendHistory(rs.Annotations[revisionHistoryAnnotation], was)
		}
	}
	return !maps.Equal(before, rs.Annotations)
}

// appendHistory adds a revision that the ReplicaSet no longer is, and forgets the
// oldest when the list gets too long.
func appendHistory(history, revision string) string {
	var list []string
	if history != "" {
		list = strings.Split(history, ",")
	}
	list = append(list, revision)
	for len(list) > 1 && len(strings.Join(list, ",")) > maxHistoryLength {
		list = list[1:]
	}
	return strings.Join(list, ",")
}

// annotateSize notes which size of the Deployment the ReplicaSet was scaled for, and
// reports whether that changed it. When the Deployment is scaled in the middle of a
// rollout, these say what the ReplicaSet's part of the whole was.
func annotateSize(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	desired := strconv.Itoa(int(*d.Spec.Replicas))
	highest := strconv.Itoa(int(*d.Spec.Replicas + maxSurge(d)))
	if rs.Annotations[desiredAnnotation] == desired && rs.Annotations[maxAnnotation] == highest {
		return false
	}
	metav1.SetMetaDataAnnotation(&rs.ObjectMeta, desiredAnnotation, desired)
	metav1.SetMetaDataAnnotation(&rs.ObjectMeta, maxAnnotation, highest)
	return true
}

func intAnnotation(rs *appsv1.ReplicaSet, name string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[name], 10, 32)
	return int32(n), err == nil
}
