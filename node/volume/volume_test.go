package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

// shop has one ConfigMap, one Secret and a Pod.
type shop struct{}

func (shop) ConfigMap(name string) (*corev1.ConfigMap, error) {
	if name != "app" {
		return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
	}
	return &corev1.ConfigMap{Data: map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"raw": {0, 1}}}, nil
}

func (shop) Secret(name string) (*corev1.Secret, error) {
	if name != "app" {
		return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
	}
	return &corev1.Secret{Data: map[string][]byte{"password": []byte("s3cret")}}, nil
}

func (shop) Field(path string) (string, error) { return "<" + path + ">", nil }

func (shop) Token(t *corev1.ServiceAccountTokenProjection) (string, error) {
	if t.Audience == "nobody" {
		return "", errors.New("failed to fetch token: no")
	}
	return "token for " + t.Audience, nil
}

func (shop) Resource(ref *corev1.ResourceFieldSelector) (string, error) {
	return ref.ContainerName + "/" + ref.Resource, nil
}

func TestContents(t *testing.T) {
	app := corev1.LocalObjectReference{Name: "app"}
	none := corev1.LocalObjectReference{Name: "none"}
	for name, row := range map[string]struct {
		volume corev1.VolumeSource
		want   string // sorted "path=data mode", or an error
	}{
		"every key": {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: app}}, "a=1 644, b=2 644, raw=\x00\x01 644"},
		"items and modes": {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: app, DefaultMode: ptr.To[int32](0o600),
			Items: []corev1.KeyToPath{{Key: "a", Path: "x/y"}, {Key: "b", Path: "z", Mode: ptr.To[int32](0o400)}}}}, "x/y=1 600, z=2 400"},
		"no such key": {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: app,
			Items: []corev1.KeyToPath{{Key: "c", Path: "c"}}}}, "configmap references non-existent config key: c"},
		"no such key, optional": {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: app, Optional: ptr.To(true),
			Items: []corev1.KeyToPath{{Key: "c", Path: "c"}}}}, ""},
		"no such ConfigMap":       {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: none}}, `configmap "none" not found`},
		"optional":                {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: none, Optional: ptr.To(true)}}, ""},
		"Secret":                  {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "app"}}, "password=s3cret 644"},
		"no such Secret":          {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "none"}}, `secret "none" not found`},
		"no such key of a Secret": {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "app", Items: []corev1.KeyToPath{{Key: "c", Path: "c"}}}}, "references non-existent secret key: c"},
		"downward API": {corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
			{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.cpu"}},
		}}}, "cpu=main/limits.cpu 644, labels=<metadata.labels> 644"},
		"projected": {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: ptr.To[int32](0o440), Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: app, Items: []corev1.KeyToPath{{Key: "a", Path: "a"}}}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: app}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: none, Optional: ptr.To(true)}},
		}}}, "a=1 440, password=s3cret 440"},
		"token": {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: ptr.To[int32](0o600), Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "tokens/vault", Audience: "vault"}},
		}}}, "tokens/vault=token for vault 600"},
		"no token": {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "nobody"}},
		}}}, "failed to fetch token: no"},
		"a Pod's certificate": {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{PodCertificate: &corev1.PodCertificateProjection{}},
		}}}, "this node can project configMap, secret, downwardAPI and serviceAccountToken only"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Contents(&row.volume, shop{})
			var lines []string
			for path, f := range files {
				lines = append(lines, fmt.Sprintf("%s=%s %o", path, f.Data, f.Mode))
			}
			slices.Sort(lines)
			got := strings.Join(lines, ", ")
			if err != nil {
				got = err.Error()
			}
			if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config")
	write := func(p Payload) string {
		t.Helper()
		if err := Write(dir, p, -1); err != nil {
			t.Fatal(err)
		}
		data, err := os.Readlink(filepath.Join(dir, "..data"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	read := func(name, want string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	first := write(Payload{"a": {[]byte("1"), 0o644}, "sub/b": {[]byte("2"), 0o400}})
	read("a", "1")
	read("sub/b", "2")
	if link, err := os.Readlink(filepath.Join(dir, "sub")); err != nil || link != "..data/sub" {
		t.Errorf("sub is a link to %q, %v", link, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "sub/b")); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("sub/b: %v, %v", info.Mode(), err)
	}
	if again := write(Payload{"a": {[]byte("1"), 0o644}, "sub/b": {[]byte("2"), 0o400}}); again != first {
		t.Error("the same contents were written again")
	}
	open, err := os.Open(filepath.Join(dir, "a")) // whoever reads goes on reading
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	second := write(Payload{"a": {[]byte("one"), 0o644}, "c": {nil, 0o644}})
	if second == first {
		t.Error("new contents are in the old directory")
	}
	read("a", "one")
	read("c", "")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{second, "..data", "a", "c"}; !slices.Equal(names, want) {
		t.Errorf("the directory holds %v, want %v", names, want)
	}
	if mode := write(Payload{"a": {[]byte("one"), 0o600}, "c": {nil, 0o644}}); mode == second {
		t.Error("a new mode was not written")
	}
	if err := Write(dir, Payload{"../a": {}}, -1); err == nil {
		t.Error("a path out of the volume was written")
	}
}

func TestGroup(t *testing.T) {
	switch {
	case os.Getuid() == 0:
	case os.Getenv("CI") != "":
		t.Fatal("only root can give files away")
	default:
		t.Skip("only root can give files away")
	}
	dir := filepath.Join(t.TempDir(), "secret")
	payload := Payload{"sub/a": {[]byte("1"), 0o400}}
	if err := Write(dir, payload, 4321); err != nil {
		t.Fatal(err)
	}
	first, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "sub/a"))
	if err != nil {
		t.Fatal(err)
	}
	if group := info.Sys().(*syscall.Stat_t).Gid; group != 4321 || info.Mode().Perm() != 0o440 {
		t.Errorf("the file has mode %v and group %d", info.Mode(), group)
	}
	if err := Write(dir, payload, 4321); err != nil {
		t.Fatal(err)
	}
	if again, err := os.Readlink(filepath.Join(dir, "..data")); err != nil || again != first {
		t.Errorf("the same contents were written again: %v", err)
	}
}

func TestHostPath(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", path("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, row := range []struct {
		kind corev1.HostPathType
		name string
		want string
	}{
		{corev1.HostPathDirectory, "", ""},
		{corev1.HostPathDirectory, "file", "hostPath type check failed: " + path("file") + " is not a directory"},
		{corev1.HostPathDirectory, "none", "hostPath type check failed: " + path("none") + " is not a directory"},
		{corev1.HostPathDirectoryOrCreate, "made/deep", ""},
		{corev1.HostPathDirectoryOrCreate, "file", "hostPath type check failed: " + path("file") + " is not a directory"},
		{corev1.HostPathFile, "file", ""},
		{corev1.HostPathFile, "none2", "hostPath type check failed: " + path("none2") + " is not a file"},
		{corev1.HostPathFileOrCreate, "made-file", ""},
		{corev1.HostPathSocket, "socket", ""},
		{corev1.HostPathSocket, "file", "hostPath type check failed: " + path("file") + " is not a socket file"},
		{corev1.HostPathCharDev, "file", "hostPath type check failed: " + path("file") + " is not a character device"},
		{corev1.HostPathUnset, "unset", ""},
	} {
		err := HostPath(&corev1.HostPathVolumeSource{Path: path(row.name), Type: &row.kind})
		if row.want == "" && err != nil || row.want != "" && (err == nil || err.Error() != row.want) {
			t.Errorf("%q of type %q: %v, want %q", row.name, row.kind, err, row.want)
		}
	}
	if err := HostPath(&corev1.HostPathVolumeSource{Path: "/dev/null", Type: ptr.To(corev1.HostPathCharDev)}); err != nil {
		t.Error(err)
	}
	for name, isDir := range map[string]bool{"made/deep": true, "made-file": false, "unset": true} {
		if info, err := os.Stat(path(name)); err != nil || info.IsDir() != isDir {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(path("none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a check made something: %v", err)
	}
}
