package openapi

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// verb is how one of the API's verbs appears in HTTP and in the specification.
type verb struct {
	method  string
	id      string // how operation ids begin
	action  string // x-kubernetes-action
	says    string // description, with the kind for %s
	options []reflect.Type
	codes   []int
}

var verbs = map[string]verb{
	"list": {"GET", "list", "list", "list or watch objects of kind %s",
		[]reflect.Type{listOptions}, []int{200}},
	"create": {"POST", "create", "post", "create %s",
		[]reflect.Type{reflect.TypeFor[metav1.CreateOptions]()}, []int{200, 201, 202}},
	"deletecollection": {"DELETE", "delete", "deletecollection", "delete collection of %s",
		[]reflect.Type{deleteOptions, listOptions}, []int{200}},
	"get": {"GET", "read", "get", "read the specified %s",
		nil, []int{200}},
	"update": {"PUT", "replace", "put", "replace the specified %s",
		[]reflect.Type{reflect.TypeFor[metav1.UpdateOptions]()}, []int{200, 201}},
	"patch": {"PATCH", "patch", "patch", "partially update the specified %s",
		[]reflect.Type{reflect.TypeFor[metav1.PatchOptions]()}, []int{200, 201}},
	"delete": {"DELETE", "delete", "delete", "delete %s",
		[]reflect.Type{deleteOptions}, []int{200, 202}},
}

var (
	listOptions   = reflect.TypeFor[metav1.ListOptions]()
	deleteOptions = reflect.TypeFor[metav1.DeleteOptions]()

	encodings  = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	watchable  = append(encodings[:3:3], "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
	patchTypes = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType)}
)

// target is what an operation works on.
type target struct {
	gvk          schema.GroupVersionKind // of the body
	body, answer reflect.Type
	sub          string       // subresource, "" for the object itself
	options      reflect.Type // query parameters beyond the verb's
	connect      bool         // opens a stream
	everywhere   bool         // in all namespaces
}

// operation describes v on t.
func (p *paths) operation(v verb, t target) *spec.Operation {
	op := &spec.Operation{OperationProps: spec.OperationProps{
		ID:          p.operationID(v, t),
		Description: v.describe(p.v.Kind, t),
		Tags:        []string{uncapped(groupName(p.v.Group)) + "_" + p.v.Version},
		Schemes:     []string{"https"},
		Consumes:    []string{"*/*"},
		Produces:    encodings,
		Parameters:  p.parameters(v, t),
		Responses:   p.responses(v, t),
	}}
	action := v.action
	switch {
	case t.connect:
		action = "connect"
		op.Produces = []string{"*/*"}
	case v.action == "list":
		op.Produces = watchable
	case t.answer.Kind() == reflect.String: // a log
		op.Produces = append([]string{"text/plain"}, encodings...)
	case v.method == "PATCH":
		op.Consumes = patchTypes
	}
	op.AddExtension("x-kubernetes-action", action)
	op.AddExtension("x-kubernetes-group-version-kind", extension(t.gvk))
	return op
}

// describe says what the operation does, in upstream's words.
func (v verb) describe(kind string, t target) string {
	noun := kind
	if v.method == "POST" || v.action == "delete" {
		noun = article(kind) + kind
	}
	if t.connect {
		return fmt.Sprintf("connect %s requests to %s of %s", v.method, strings.TrimSuffix(t.sub, "WithPath"), kind)
	}
	if t.sub == "" {
		return fmt.Sprintf(v.says, noun)
	}
	of := strings.NewReplacer("the specified %s", t.sub+" of the specified "+kind, "%s", t.sub+" of "+noun)
	return of.Replace(v.says)
}

// article is "a ", "an " or, before a plural such as Endpoints, nothing.
func article(kind string) string {
	switch {
	case strings.HasSuffix(kind, "s") && !strings.HasSuffix(kind, "ss"):
		return ""
	case strings.ContainsRune("AEIOU", rune(kind[0])):
		return "an "
	default:
		return "a "
	}
}

// responses are the codes of success, with what comes then, and what a stranger gets.
func (p *paths) responses(v verb, t target) *spec.Responses {
	answer := p.of(t.answer)
	codes := v.codes
	if t.connect {
		codes = codes[:1]
	}
	byCode := map[int]spec.Response{http.StatusUnauthorized: response(http.StatusUnauthorized, nil)}
	for _, code := range codes {
		byCode[code] = response(code, &answer)
	}
	return &spec.Responses{ResponsesProps: spec.ResponsesProps{StatusCodeResponses: byCode}}
}

func response(code int, s *spec.Schema) spec.Response {
	return spec.Response{ResponseProps: spec.ResponseProps{Description: http.StatusText(code), Schema: s}}
}

// parameters are what is sent along: a body, and options in the query.
func (p *paths) parameters(v verb, t target) []spec.Parameter {
	if t.connect {
		return queryParameters(t.options)
	}
	options := v.options
	if t.options != nil {
		options = append(options, t.options)
	}
	query := queryParameters(options...)
	if v.action == "deletecollection" {
		query = slices.DeleteFunc(query, func(q spec.Parameter) bool {
			return q.Name == "watch" || q.Name == "allowWatchBookmarks" || q.Name == "sendInitialEvents"
		})
	}
	switch v.method {
	case "POST", "PUT":
		return append(query, body(p.of(t.body), true))
	case "PATCH":
		return append(query, body(p.of(reflect.TypeFor[metav1.Patch]()), true))
	case "DELETE":
		return append(query, body(p.of(deleteOptions), false))
	}
	return query
}

// operationID is the name that generated clients give the operation's function:
// replaceCoreV1NamespacedPodStatus.
func (p *paths) operationID(v verb, t target) string {
	id := v.id
	if t.connect {
		id = "connect"
	}
	id += groupName(p.v.Group) + title(p.v.Version)
	if t.connect {
		id += title(strings.ToLower(v.method))
	}
	if v.action == "deletecollection" {
		id += "Collection"
	}
	if p.kind.Namespaced && !t.everywhere {
		id += "Namespaced"
	}
	id += p.v.Kind + title(t.sub)
	if t.everywhere {
		id += "ForAllNamespaces"
	}
	return id
}

// groupName is a group's short name in identifiers: "RbacAuthorization" for
// rbac.authorization.k8s.io.
func groupName(group string) string {
	if group == "" {
		return "Core"
	}
	name := ""
	for part := range strings.SplitSeq(strings.TrimSuffix(group, ".k8s.io"), ".") {
		name += title(part)
	}
	return name
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func uncapped(s string) string { return strings.ToLower(s[:1]) + s[1:] }
