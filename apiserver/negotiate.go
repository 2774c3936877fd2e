package apiserver

import (
	"net/http"
	"slices"
	"strings"

	"github.com/munnerz/goautoneg"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// media is a serialization.
type media int

const (
	jsonMedia media = iota
	yamlMedia
	protobufMedia
	cborMedia
)

// mediaTypes are their names. CBOR is understood but not offered in lists of what is: it is
// behind a gate upstream, too.
var mediaTypes = [...]string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"}

func (m media) String() string { return mediaTypes[m] }

// accept is what a client wants to see: how serialized, and as what.
type accept struct {
	media  media
	as     schema.GroupVersionKind // empty: the object itself; or Table, PartialObjectMetadata
	pretty bool                    // indented, for people
}

// table says whether the client wants rows, partialObject whether metadata only.
func (a accept) table() bool         { return a.as.Kind == "Table" }
func (a accept) partialObject() bool { return strings.HasPrefix(a.as.Kind, "PartialObjectMetadata") }

// representations are what the paths of resources can answer in, and with events.
var (
	representations = mediaTypes[:protobufMedia+1]
	withEvents      = append(slices.Clone(representations), eventMedia...)
	eventMedia      = []string{mediaTypes[jsonMedia] + ";stream=watch", mediaTypes[protobufMedia] + ";stream=watch"}
)

// acceptable is the first look at the Accept header, before anything else is done: does it
// name one of the types at all? What they are to contain is for negotiate to say.
//
// Kubernetes: this is the router's part (go-restful), which is why there are two messages
// for one mistake.
func acceptable(r *http.Request, types []string) error {
	header := r.Header.Get("Accept")
	if header == "" {
		return nil
	}
	for part := range strings.SplitSeq(header, ",") {
		t, _, _ := strings.Cut(part, ";")
		if t = strings.TrimSpace(t); t == "*/*" || t == mediaTypes[cborMedia] || types[0] == "*/*" || slices.Contains(types, t) {
			return nil
		}
	}
	return errNoRepresentation(types)
}

// negotiate picks the first alternative of the Accept header that can be served.
// convertible says whether the path can show tables and metadata.
func negotiate(r *http.Request, convertible bool) (accept, error) {
	a, ok := choose(r.Header.Get("Accept"), convertible)
	if !ok {
		return a, errNotAcceptable(strings.Join(representations, ", "))
	}
	return a, nil
}

// negotiateStream is the same for a watch. YAML has no way to delimit events.
func negotiateStream(r *http.Request) (accept, error) {
	a, ok := choose(r.Header.Get("Accept"), true)
	if !ok || a.media == yamlMedia {
		return a, errNotAcceptable(strings.Join(eventMedia, ", "))
	}
	return a, nil
}

func choose(header string, convertible bool) (accept, bool) {
	if header == "" || header == mediaTypes[jsonMedia] {
		return accept{}, true
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		for m := range media(len(mediaTypes)) {
			if !m.is(clause.Type, clause.SubType) {
				continue
			}
			if a, ok := m.with(clause.Params, convertible); ok {
				return a, true
			}
		}
	}
	return accept{}, false
}

// is says whether a clause of an Accept header means the serialization.
func (m media) is(kind, subtype string) bool {
	if kind == "*" {
		return subtype == "*"
	}
	return kind == "application" && (subtype == "*" || mediaTypes[m] == kind+"/"+subtype)
}

// with reads the parameters of a clause. Those nobody knows are nobody's business.
func (m media) with(params map[string]string, convertible bool) (accept, bool) {
	a := accept{media: m, pretty: params["pretty"] == "1"}
	if stream := params["stream"]; stream != "" && (stream != "watch" || m == yamlMedia) {
		return a, false
	}
	if version := params["sv"]; version != "" && (!convertible || version != metav1.SchemeGroupVersion.Version) {
		return a, false
	}
	as, ok := target(params)
	switch {
	case !ok, !as.Empty() && !convertible:
		return a, false
	case as.Kind == "Table" && m != jsonMedia && m != yamlMedia:
		return a, false // cells can be anything, which protobuf has no way to say
	}
	a.as = as
	return a, true
}

// mediaOf finds the serialization of a body.
func mediaOf(mediaType string) (media, bool) {
	i := slices.Index(mediaTypes[:], mediaType)
	return media(i), i >= 0
}

// target reads as=Table;v=v1;g=meta.k8s.io.
func target(params map[string]string) (schema.GroupVersionKind, bool) {
	kind := params["as"]
	if kind+params["g"]+params["v"] == "" {
		return schema.GroupVersionKind{}, true
	}
	gv := schema.GroupVersion{Group: params["g"], Version: params["v"]}
	known := gv == metav1.SchemeGroupVersion || gv == metav1beta1.SchemeGroupVersion
	switch kind {
	case "Table", "PartialObjectMetadata", "PartialObjectMetadataList":
		return gv.WithKind(kind), known
	}
	return schema.GroupVersionKind{}, false
}
