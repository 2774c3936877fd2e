package apiserver

import (
	"mime"
	"net/http"
	"sort"
	"strconv"
	"strings"

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
)

var mediaTypes = [...]string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}

var (
	allMedia    = strings.Join(mediaTypes[:], ", ")
	streamMedia = mediaTypes[jsonMedia] + ", " + mediaTypes[protobufMedia] + ";stream=watch"
)

func (m media) String() string { return mediaTypes[m] }

// accept is what a client wants to see: how serialized, and as what.
type accept struct {
	media media
	as    schema.GroupVersionKind // empty: the object itself; or Table, PartialObjectMetadata
}

// table says whether the client wants rows, partialObject whether metadata only.
func (a accept) table() bool         { return a.as.Kind == "Table" }
func (a accept) partialObject() bool { return strings.HasPrefix(a.as.Kind, "PartialObjectMetadata") }

// clause is one alternative of an Accept header.
type clause struct {
	mediaType string
	params    map[string]string
	q         float64
}

// negotiate picks the first alternative of the Accept header that can be served.
// convertible says whether the path can show tables and metadata.
func negotiate(r *http.Request, convertible bool) (accept, error) {
	return chooseMedia(r.Header.Get("Accept"), convertible, allMedia)
}

// negotiateStream is the same for a watch. YAML has no way to delimit events.
func negotiateStream(r *http.Request) (accept, error) {
	a, err := chooseMedia(r.Header.Get("Accept"), true, streamMedia)
	if err == nil && a.media == yamlMedia {
		err = errNotAcceptable(streamMedia)
	}
	return a, err
}

func chooseMedia(header string, convertible bool, served string) (accept, error) {
	if header == "" || header == mediaTypes[jsonMedia] {
		return accept{}, nil
	}
	known := false
	for _, c := range parseAccept(header) {
		m, ok := mediaOf(c.mediaType)
		if !ok {
			continue
		}
		known = true
		as, ok := target(c.params)
		if !ok || (!as.Empty() && !convertible) || (as.Kind == "Table" && m == protobufMedia) {
			continue // Table cells have no protobuf form
		}
		return accept{media: m, as: as}, nil
	}
	if !known {
		return accept{}, errUnknownMedia(allMedia)
	}
	return accept{}, errNotAcceptable(served)
}

func parseAccept(header string) []clause {
	var clauses []clause
	for part := range strings.SplitSeq(header, ",") {
		t, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		c := clause{mediaType: t, params: params, q: 1}
		if q, err := strconv.ParseFloat(params["q"], 64); err == nil {
			c.q = q
		}
		if c.q > 0 {
			clauses = append(clauses, c)
		}
	}
	sort.SliceStable(clauses, func(i, j int) bool { return clauses[i].q > clauses[j].q })
	return clauses
}

func mediaOf(mediaType string) (media, bool) {
	switch mediaType {
	case "*/*", "application/*":
		return jsonMedia, true
	}
	for m, name := range mediaTypes {
		if mediaType == name {
			return media(m), true
		}
	}
	return 0, false
}

// target reads as=Table;v=v1;g=meta.k8s.io.
func target(params map[string]string) (schema.GroupVersionKind, bool) {
	kind := params["as"]
	if kind == "" {
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
