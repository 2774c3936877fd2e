package api

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// metaOf is the metadata an object has when the API server hands it over.
func metaOf(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: "default", UID: "1", ResourceVersion: "1"}
}

// metaCluster is the same without a namespace.
func metaCluster(name string) metav1.ObjectMeta {
	m := metaOf(name)
	m.Namespace = ""
	return m
}

func ptr[T any](v T) *T { return &v }

// wantErrors compares a list of errors with their texts, in any order.
func wantErrors(t *testing.T, got field.ErrorList, want ...string) {
	t.Helper()
	have, want := sorted(texts(got)), sorted(want)
	if !slices.Equal(have, want) {
		t.Errorf("errors:\n\t%s\nwant:\n\t%s", strings.Join(have, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func texts(errs field.ErrorList) []string {
	var texts []string
	for _, e := range errs {
		texts = append(texts, e.Error())
	}
	return texts
}

func sorted(texts []string) []string { return slices.Sorted(slices.Values(texts)) }

// invalidCase is an object with something wrong in it.
type invalidCase[T any] struct {
	name  string
	tweak func(*T)
	want  []string
}

// created runs the cases through the whole of BeforeCreate.
func created[T any, P object[T]](t *testing.T, k *Kind, base func() *T, cases []invalidCase[T]) {
	t.Helper()
	wantErrors(t, k.BeforeCreate(P(base())))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			obj := base()
			c.tweak(obj)
			wantErrors(t, k.BeforeCreate(P(obj)), c.want...)
		})
	}
}

// updated runs the cases as updates of a stored object.
func updated[T any, P object[T]](t *testing.T, k *Kind, base func() *T, cases []invalidCase[T]) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			old := base()
			wantErrors(t, k.BeforeCreate(P(old)))
			obj := P(old).DeepCopyObject().(P)
			c.tweak((*T)(obj))
			wantErrors(t, k.BeforeUpdate(obj, P(old)), c.want...)
		})
	}
}
