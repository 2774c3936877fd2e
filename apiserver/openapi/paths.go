package openapi

import (
	"reflect"
	"slices"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"orrery.example.org/api"
)

// paths writes the operations of one kind, served as v, into a specification.
type paths struct {
	*definitions
	items map[string]spec.PathItem
	kind  *api.Kind
	v     *api.Version
}

// addKind adds every path of the kind.
func (p *paths) addKind() error {
	object := target{gvk: p.v.GroupVersionKind, body: reflect.TypeOf(p.v.New())}
	object.answer = object.body
	base := prefix(p.v.GroupVersion())
	collection := base + "/" + p.kind.Resource
	if p.kind.Namespaced {
		collection = base + "/namespaces/{namespace}/" + p.kind.Resource
	}
	p.add(collection, "create", object)
	if p.v.NewList == nil { // a kind that is not stored, such as a review
		return nil
	}
	list := object
	list.answer = reflect.TypeOf(p.v.NewList())
	p.add(collection, "list", list)
	if p.kind.Namespaced {
		p.add(base+"/"+p.kind.Resource, "list", list)
	}
	status := object
	status.answer = reflect.TypeFor[metav1.Status]()
	if !p.kind.OneByOne {
		p.add(collection, "deletecollection", status)
	}

	item := collection + "/{name}"
	for _, verb := range []string{"get", "patch", "update"} {
		p.add(item, verb, object)
	}
	if returned[p.v.Kind] {
		status = object
	}
	p.add(item, "delete", status)
	for _, s := range p.subresources() {
		if err := p.addSubresource(item+"/"+s.Name, s); err != nil {
			return err
		}
	}
	return nil
}

// returned are the kinds whose deletion is answered with the object, by old custom.
var returned = map[string]bool{"Pod": true, "Service": true, "ServiceAccount": true}

// subresources lists all of the kind's, those that the table only implies too.
func (p *paths) subresources() []api.Subresource {
	subs, change := slices.Clone(p.kind.Subresources), []string{"get", "patch", "update"}
	if p.kind.Status != nil {
		subs = append(subs, api.Subresource{Name: "status", Verbs: change})
	}
	if p.kind.Scale != nil {
		subs = append(subs, api.Subresource{Name: "scale", GVK: autoscalingv1.SchemeGroupVersion.WithKind("Scale"), Verbs: change})
	}
	return subs
}

func (p *paths) addSubresource(path string, s api.Subresource) error {
	t := target{gvk: p.v.GroupVersionKind, body: reflect.TypeOf(p.v.New()), sub: s.Name}
	if s.GVK != (schema.GroupVersionKind{}) {
		obj, err := scheme.Scheme.New(s.GVK)
		if err != nil {
			return err
		}
		t.gvk, t.body = s.GVK, reflect.TypeOf(obj)
	}
	t.answer = t.body
	switch {
	case s.Name == "log":
		t.options, t.answer = reflect.TypeFor[corev1.PodLogOptions](), reflect.TypeFor[string]()
	case s.Name == "proxy":
		p.addProxy(path, t)
		return nil
	case strings.HasSuffix(t.gvk.Kind, "Options"): // exec, portforward, …: query parameters and a stream
		t.options, t.body, t.answer = t.body, nil, reflect.TypeFor[string]()
		t.connect = true
	}
	for _, verb := range s.Verbs {
		p.add(path, verb, t)
	}
	return nil
}

// addProxy adds the operations that pass everything on, by any method, with a path behind
// them or without.
func (p *paths) addProxy(path string, t target) {
	t.options, t.body, t.answer, t.connect = t.body, nil, reflect.TypeFor[string](), true
	for _, path := range []string{path, path + "/{path}"} {
		for _, method := range []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"} {
			p.addVerb(path, verb{method: method, codes: []int{200}}, t)
		}
		t.sub += "WithPath"
	}
}

// add puts the operation of a verb at its path.
func (p *paths) add(path, name string, t target) { p.addVerb(path, verbs[name], t) }

func (p *paths) addVerb(path string, v verb, t target) {
	t.everywhere = p.kind.Namespaced && !strings.Contains(path, "{namespace}")
	item, known := p.items[path]
	if !known {
		item.Parameters = pathParameters(path, p.v.Kind)
	}
	op := p.operation(v, t)
	switch v.method {
	case "GET":
		item.Get = op
	case "POST":
		item.Post = op
	case "PUT":
		item.Put = op
	case "PATCH":
		item.Patch = op
	case "DELETE":
		item.Delete = op
	case "HEAD":
		item.Head = op
	case "OPTIONS":
		item.Options = op
	}
	p.items[path] = item
}

// prefix is the path of a group version.
func prefix(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.String()
}
