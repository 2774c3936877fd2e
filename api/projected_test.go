package api

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestProjected(t *testing.T) {
	token := func(path string, seconds int64) corev1.VolumeProjection {
		return corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: path, ExpirationSeconds: &seconds}}
	}
	app := corev1.LocalObjectReference{Name: "app"}
	file := []corev1.KeyToPath{{Key: "k", Path: "p"}}
	for _, c := range []struct {
		name    string
		sources []corev1.VolumeProjection
		want    string // errors, one a line
	}{
		{"what admission adds", []corev1.VolumeProjection{token("token", 3607),
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: app, Items: file}}}, ""},
		{"short", []corev1.VolumeProjection{token("t", 599)},
			`v.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes`},
		{"long", []corev1.VolumeProjection{token("t", 1<<32+1)},
			`v.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds`},
		{"no path", []corev1.VolumeProjection{token("", 600)}, `v.path: Required value`},
		{"a path out", []corev1.VolumeProjection{token("../t", 600)}, `v.path: Invalid value: "../t": must not contain '..'`},
		{"a path of the volume's own", []corev1.VolumeProjection{token("..data", 600)}, `v.path: Invalid value: "..data": must not start with '..'`},
		{"twice the same", []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: app, Items: file}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: app, Items: file}}}, `v: Invalid value: "app": conflicting duplicate paths`},
		{"two in one", []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: app}, ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: app}}},
			`v.sources[0]: Forbidden: may not specify more than 1 volume type per source`},
		{"no name", []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{}}}, `v.sources[0].secret.name: Required value`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lines []string
			for _, err := range validateProjected(&corev1.ProjectedVolumeSource{Sources: c.sources}, field.NewPath("v")) {
				lines = append(lines, err.Error())
			}
			if got := strings.Join(lines, "\n"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
