package node

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"orrery.example.org/node/workload"
)

// user is whom a container's programs run as, as the spec or the image has it, and that
// user's home; nil: the agent. An error means that they must not run. A user or group that
// this user namespace does not know, as in a lab without root, cannot be had: an event
// tells it, and the agent's stands in.
//
// Kubernetes: the container does not start then.
func (c *container) user(image workload.Image) (id *syscall.Credential, home string, err error) {
	object := c.pod.latest()
	id, home, err = identify(object, &c.spec, image)
	if err != nil || id == nil {
		return nil, home, err
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
		return nil, home, nil
	}
	return id, home, nil
}

// identify works out user and groups, and where their home is. What a container says
// counts more than what its Pod says, and that more than the image; nil: none says anything.
func identify(pod *corev1.Pod, spec *corev1.Container, image workload.Image) (*syscall.Credential, string, error) {
	p, c := pod.Spec.SecurityContext, spec.SecurityContext
	if p == nil {
		p = &corev1.PodSecurityContext{}
	}
	if c == nil {
		c = &corev1.SecurityContext{}
	}
	uid, gid, nonRoot := first(c.RunAsUser, p.RunAsUser), first(c.RunAsGroup, p.RunAsGroup), first(c.RunAsNonRoot, p.RunAsNonRoot)
	if why := rootPolicy(uid, image.User); ptr.Deref(nonRoot, false) && why != "" {
		return nil, "", fmt.Errorf("%s (pod: \"%s_%s(%s)\", container: %s)", why, pod.Name, pod.Namespace, pod.UID, spec.Name)
	}
	account, err := accountOf(uid, image)
	if err != nil {
		return nil, "", err
	}
	var groups []uint32
	if ptr.Deref(p.SupplementalGroupsPolicy, corev1.SupplementalGroupsPolicyMerge) != corev1.SupplementalGroupsPolicyStrict {
		groups = account.Groups
	}
	for _, group := range p.SupplementalGroups {
		groups = append(groups, uint32(group))
	}
	if p.FSGroup != nil {
		groups = append(groups, uint32(*p.FSGroup))
	}
	if uid == nil && image.User == "" && gid == nil && len(groups) == 0 {
		return nil, account.Home, nil
	}
	return &syscall.Credential{Uid: account.UID, Gid: uint32(ptr.Deref(gid, int64(account.GID))), Groups: groups}, account.Home, nil
}

// rootPolicy is why a container with runAsNonRoot must not run as this user; "": it may.
func rootPolicy(uid *int64, imageUser string) string {
	name, _, _ := strings.Cut(imageUser, ":")
	number, err := strconv.Atoi(cmp.Or(name, "0"))
	switch {
	case uid != nil && *uid == 0:
		return "container's runAsUser breaks non-root policy"
	case uid != nil:
		return ""
	case err != nil:
		return fmt.Sprintf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root", name)
	case number == 0:
		return "container has runAsNonRoot and image will run as root"
	}
	return ""
}

// accountOf is what a container's root directory knows of its user. Where it sees the
// node's files, a user is no more than a number.
func accountOf(uid *int64, image workload.Image) (workload.Account, error) {
	if image.Root == "" {
		return workload.Account{UID: uint32(ptr.Deref(uid, 0)), Home: "/root"}, nil
	}
	user := cmp.Or(image.User, "0")
	if uid != nil {
		user = strconv.FormatInt(*uid, 10)
	}
	account, err := image.Account(user)
	if uid == nil && image.User == "" {
		account.Groups = nil // nobody asked for anything
	}
	return account, err
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
