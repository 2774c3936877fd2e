package workload

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Account is a user as a root directory's /etc/passwd and /etc/group know it.
type Account struct {
	UID, GID uint32
	Groups   []uint32 // more of them
	Home     string
}

// Account looks up a user of the image's: a name or number, and maybe a colon and a
// group's. A number need not be known; then its group is 0 and its home is /.
func (i Image) Account(user string) (Account, error) {
	root, err := os.OpenRoot(i.Root) // a link in it leads nowhere else
	if err != nil {
		return Account{}, err
	}
	defer root.Close()
	return findAccount(readOrEmpty(root, "etc/passwd"), readOrEmpty(root, "etc/group"), user)
}

// readOrEmpty is empty for a file that cannot be read: many images have neither.
func readOrEmpty(root *os.Root, name string) string {
	f, err := root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	const longest = 1 << 20
	data, _ := io.ReadAll(io.LimitReader(f, longest))
	return string(data)
}

// findAccount is Account for the contents of the two files. As runtimes do it, groups that
// list the user count only where no group is asked for.
func findAccount(passwd, group, user string) (a Account, err error) {
	user, asked, hasGroup := strings.Cut(user, ":")
	a.Home = "/"
	uid, number := parseID(user)
	name, known := user, false
	for f := range lines(passwd, 6) { // name:password:uid:gid:comment:home:shell
		id, ok := parseID(f[2])
		gid, ok2 := parseID(f[3])
		if ok && ok2 && (f[0] == user || number && id == uid) {
			name, known = f[0], true
			a = Account{UID: id, GID: gid, Home: f[5]}
			break
		}
	}
	switch {
	case known:
	case number:
		a.UID = uid
	default:
		return a, fmt.Errorf("unable to find user %s: no matching entries in passwd file", user)
	}
	if hasGroup {
		a.GID, err = findGroup(group, asked)
		return a, err
	}
	for f := range lines(group, 4) { // name:password:gid:members
		if gid, ok := parseID(f[2]); ok && known && slices.Contains(strings.Split(f[3], ","), name) {
			a.Groups = append(a.Groups, gid)
		}
	}
	return a, nil
}

func findGroup(group, name string) (uint32, error) {
	for f := range lines(group, 3) {
		if gid, ok := parseID(f[2]); ok && f[0] == name {
			return gid, nil
		}
	}
	if gid, ok := parseID(name); ok {
		return gid, nil
	}
	return 0, fmt.Errorf("unable to find group %s: no matching entries in group file", name)
}

// lines are the lines of such a file that have enough fields.
func lines(text string, fields int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for line := range strings.Lines(text) {
			if f := strings.Split(strings.TrimRight(line, "\r\n"), ":"); len(f) >= fields && !yield(f) {
				return
			}
		}
	}
}

func parseID(text string) (uint32, bool) {
	id, err := strconv.ParseUint(text, 10, 31) // as upstream allows it
	return uint32(id), err == nil
}
