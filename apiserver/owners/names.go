package owners

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"

	"orrery.example.org/api"
)

// Name is the manager's: what the client asked for, or else the program's name from
// its User-Agent.
func Name(asked, userAgent string) string {
	if asked != "" {
		return asked
	}
	program, _, _ := strings.Cut(userAgent, "/")
	var name strings.Builder
	for _, r := range program {
		if !unicode.IsPrint(r) {
			continue
		}
		if name.Len()+utf8.RuneLen(r) > validation.FieldManagerMaxLength {
			break
		}
		name.WriteRune(r)
	}
	return name.String()
}

// KeepTimes gives next the owners of old if all that differs is when they wrote: a
// write that changes nothing shall not become one by telling so.
func KeepTimes(next, old api.Object) {
	noted, before := next.GetManagedFields(), old.GetManagedFields()
	if len(noted) != len(before) || slices.EqualFunc(noted, before, same) {
		return
	}
	for _, e := range noted {
		if !slices.ContainsFunc(before, func(b metav1.ManagedFieldsEntry) bool { return sameButTime(e, b) }) {
			return
		}
	}
	next.SetManagedFields(before)
	next.GetObjectKind().SetGroupVersionKind(old.GetObjectKind().GroupVersionKind())
	if !equality.Semantic.DeepEqual(next, old) {
		next.SetManagedFields(noted)
	}
}

func same(a, b metav1.ManagedFieldsEntry) bool {
	return a.Time.Equal(b.Time) && sameButTime(a, b)
}

func sameButTime(a, b metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.APIVersion == b.APIVersion &&
		a.Subresource == b.Subresource && a.FieldsType == b.FieldsType &&
		equality.Semantic.DeepEqual(a.FieldsV1, b.FieldsV1)
}
