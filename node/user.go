package node

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// user is whom a container's programs run as, as the spec has it; nil: the agent. An error
// means that they must not run. A user or group that this user namespace does not know,
// as in a lab without root, cannot be had: an event tells it, and the agent's stands in.
//
// Kubernetes: the container does not start then.
func (c *container) user() (*syscall.Credential, error) {
	object := c.pod.latest()
	id, err := identify(object, &c.spec)
	if err != nil || id == nil {
		return nil, err
	}
	uids, gids := readOrEmpty("/proc/self/uid_map"), readOrEmpty("/proc/self/gid_map")
	problem := ""
	switch {
	case !mapped(uids, id.Uid):
		problem = fmt.Sprintf("user %d is not known in it", id.Uid)
	case !mapped(gids, id.Gid):
		problem = fmt.Sprintf("group %d is not known in it", id.Gid)
	case line("/proc/self/setgroups") == "deny":
		problem = "groups cannot be set in it"
	}
	if problem != "" {
		c.event(corev1.EventTypeWarning, "UserNotAvailable", fmt.Sprintf(
			"Container %s runs as the user of the node's agent: that is in a user namespace, and %s (run it as root to have users)", c.spec.Name, problem))
		return nil, nil
	}
	return id, nil
}

// identify works out user and groups. What a container says counts more than what its
// Pod says; nil: neither says anything.
func identify(pod *corev1.Pod, spec *corev1.Container) (*syscall.Credential, error) {
	p, c := pod.Spec.SecurityContext, spec.SecurityContext
	if p == nil {
		p = &corev1.PodSecurityContext{}
	}
	if c == nil {
		c = &corev1.SecurityContext{}
	}
	uid, gid, nonRoot := first(c.RunAsUser, p.RunAsUser), first(c.RunAsGroup, p.RunAsGroup), first(c.RunAsNonRoot, p.RunAsNonRoot)
	if ptr.Deref(nonRoot, false) && ptr.Deref(uid, 0) == 0 {
		why := "container has runAsNonRoot and image will run as root"
		if uid != nil {
			why = "container's runAsUser breaks non-root policy"
		}
		return nil, fmt.Errorf("%s (pod: \"%s_%s(%s)\", container: %s)", why, pod.Name, pod.Namespace, pod.UID, spec.Name)
	}
	groups := make([]uint32, 0, len(p.SupplementalGroups)+1)
	for _, group := range p.SupplementalGroups {
		groups = append(groups, uint32(group))
	}
	if p.FSGroup != nil {
		groups = append(groups, uint32(*p.FSGroup))
	}
	if uid == nil && gid == nil && len(groups) == 0 {
		return nil, nil
	}
	return &syscall.Credential{Uid: uint32(ptr.Deref(uid, 0)), Gid: uint32(ptr.Deref(gid, 0)), Groups: groups}, nil
}

// first is the first one that says anything.
func first[T any](all ...*T) *T {
	for _, p := range all {
		if p != nil {
			return p
		}
	}
	return nil
}

// mapped says whether a user namespace knows a number, by /proc/self/uid_map or gid_map:
// lines of the first number inside, the first outside, and how many.
func mapped(table string, id uint32) bool {
	for row := range strings.Lines(table) {
		f := strings.Fields(row)
		if len(f) != 3 {
			continue
		}
		start, err := strconv.ParseUint(f[0], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 64)
		if err == nil && err2 == nil && uint64(id) >= start && uint64(id)-start < count {
			return true
		}
	}
	return false
}

// oneUser says whether there is nobody but root here, as in a lab of an ordinary user.
func oneUser() bool { return !mapped(readOrEmpty("/proc/self/uid_map"), 1) }

// volumeGroup is the group to which the Pod's volumes belong; -1: none in particular, or
// one that cannot be had.
func (p *pod) volumeGroup() int {
	security := p.latest().Spec.SecurityContext
	if security == nil || security.FSGroup == nil || !mapped(readOrEmpty("/proc/self/gid_map"), uint32(*security.FSGroup)) {
		return -1
	}
	return int(*security.FSGroup)
}
