package api

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// none is what kubectl shows for a value that is not there.
const none = "<none>"

// listed is how many values of a list a cell shows before "+ 2 more...".
const listed = 3

// column makes a column whose cell is written for *T. Its type is string.
func column[T, R any, P object[T]](name, description string, cell func(*T) R) Column {
	c := Column{Cell: func(o Object) any { return cell(o.(P)) }}
	c.Name, c.Type, c.Description = name, "string", description
	return c
}

// wide shows the column only with -o wide.
func (c Column) wide() Column {
	c.Priority = 1
	return c
}

// integer marks cells that hold an int64.
func (c Column) integer() Column {
	c.Type = "integer"
	return c
}

// boolean marks cells that hold a bool.
func (c Column) boolean() Column {
	c.Type = "boolean"
	return c
}

// as replaces how a column's cell is made.
func as[T any, P object[T]](c Column, cell func(*T) any) Column {
	c.Cell = func(o Object) any { return cell(o.(P)) }
	return c
}

// documented is a Go type of the API with its fields' descriptions.
type documented interface{ SwaggerDoc() map[string]string }

// doc is the API's description of a field.
func doc(of documented, field string) string { return of.SwaggerDoc()[field] }

func nameColumn() Column {
	c := Column{Cell: func(o Object) any { return o.GetName() }}
	c.Name, c.Type, c.Format, c.Description = "Name", "string", "name", doc(metav1.ObjectMeta{}, "name")
	return c
}

func ageColumn() Column {
	c := Column{Cell: func(o Object) any { return since(o.GetCreationTimestamp().Time) }}
	c.Name, c.Type, c.Description = "Age", "string", doc(metav1.ObjectMeta{}, "creationTimestamp")
	return c
}

// createdColumn is the second of two where a kind has no columns of its own.
func createdColumn() Column {
	c := Column{Cell: func(o Object) any { return o.GetCreationTimestamp().UTC().Format(time.RFC3339) }}
	c.Name, c.Type, c.Description = "Created At", "date", doc(metav1.ObjectMeta{}, "creationTimestamp")
	return c
}

// since is a time's age as kubectl writes it: "5m", "3d4h".
func since(t time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t))
}

// orNone is s, or <none> if it is empty.
func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

// firstOf shows the first few values of a list and how many more there are.
func firstOf(values []string) string {
	if len(values) <= listed {
		return strings.Join(values, ",")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(values[:listed], ","), len(values)-listed)
}

// templateColumns are the wide columns of everything with a Pod template.
func templateColumns[T any, P object[T]](spec documented, parts func(*T) (*corev1.PodTemplateSpec, *metav1.LabelSelector)) []Column {
	list := func(obj *T, of func(*corev1.Container) string) string {
		var values []string
		template, _ := parts(obj)
		for i := range template.Spec.Containers {
			values = append(values, of(&template.Spec.Containers[i]))
		}
		return strings.Join(values, ",")
	}
	return []Column{
		column[T, string, P]("Containers", "Names of each container in the template.", func(obj *T) string {
			return list(obj, func(c *corev1.Container) string { return c.Name })
		}).wide(),
		column[T, string, P]("Images", "Images referenced by each container in the template.", func(obj *T) string {
			return list(obj, func(c *corev1.Container) string { return c.Image })
		}).wide(),
		column[T, string, P]("Selector", doc(spec, "selector"), func(obj *T) string {
			_, selector := parts(obj)
			return metav1.FormatLabelSelector(selector)
		}).wide(),
	}
}
