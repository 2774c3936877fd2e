package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Rules are a kind's functions, written for its Go type. Any may be nil.
type Rules[T any] struct {
	Spec, Status   func(*T) any
	Default        func(*T)
	PrepareCreate  func(*T)
	PrepareUpdate  func(new, old *T)
	PrepareStatus  func(new, old *T)
	Validate       func(*T) field.ErrorList
	ValidateUpdate func(new, old *T) field.ErrorList
	ValidateStatus func(new, old *T) field.ErrorList
	Fields         func(*T) fields.Set
	Warnings       func(new, old *T) []string
	StatusWarnings func(*T) []string
	GracePeriod    func(obj *T, asked *int64) int64
	RowConditions  func(*T) []metav1.TableRowCondition
}

// object ties a Go type to its pointer's methods.
type object[T any] interface {
	*T
	Object
}

// list does the same for a list type.
type list[L any] interface {
	*L
	runtime.Object
}

// version makes the storage version of a kind from its Go types.
func version[T, L any, P object[T], Q list[L]](gv schema.GroupVersion, kind string) Version {
	return Version{
		GroupVersionKind: gv.WithKind(kind),
		New:              func() Object { return P(new(T)) },
		NewList:          func() runtime.Object { return Q(new(L)) },
	}
}

// asked makes the only version of a kind that is created and answered, never stored.
func asked[T any, P object[T]](gv schema.GroupVersion, kind string) Version {
	return Version{GroupVersionKind: gv.WithKind(kind), New: func() Object { return P(new(T)) }}
}

// define completes a row: it wraps rules that are written for *T so that they
// take any Object. The row must hold *T objects.
func define[T any, P object[T]](k Kind, r Rules[T]) *Kind {
	k.Spec, k.Status = give[T, P](r.Spec), give[T, P](r.Status)
	k.Default, k.PrepareCreate = one[T, P](r.Default), one[T, P](r.PrepareCreate)
	k.PrepareUpdate, k.PrepareStatus = two[T, P](r.PrepareUpdate), two[T, P](r.PrepareStatus)
	k.ValidateUpdate, k.ValidateStatus = check[T, P](r.ValidateUpdate), check[T, P](r.ValidateStatus)
	k.Validate, k.Fields = give[T, P](r.Validate), give[T, P](r.Fields)
	k.StatusWarnings, k.RowConditions = give[T, P](r.StatusWarnings), give[T, P](r.RowConditions)
	if f := r.Warnings; f != nil {
		k.Warnings = func(n, o Object) []string {
			old, _ := o.(P)
			return f(n.(P), old)
		}
	}
	if f := r.GracePeriod; f != nil {
		k.GracePeriod = func(o Object, asked *int64) int64 { return f(o.(P), asked) }
	}
	return &k
}

// give, one, two and check lift a rule on *T to a rule on Object; nil stays nil.
func give[T any, P object[T], R any](f func(*T) R) func(Object) R {
	if f == nil {
		return nil
	}
	return func(o Object) R { return f(o.(P)) }
}

func one[T any, P object[T]](f func(*T)) func(Object) {
	if f == nil {
		return nil
	}
	return func(o Object) { f(o.(P)) }
}

func two[T any, P object[T]](f func(new, old *T)) func(new, old Object) {
	if f == nil {
		return nil
	}
	return func(n, o Object) { f(n.(P), o.(P)) }
}

func check[T any, P object[T]](f func(new, old *T) field.ErrorList) func(new, old Object) field.ErrorList {
	if f == nil {
		return nil
	}
	return func(n, o Object) field.ErrorList { return f(n.(P), o.(P)) }
}
