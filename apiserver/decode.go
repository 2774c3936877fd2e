package apiserver

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes/scheme"

	"orrery.example.org/api"
)

// maxBody is the largest request body, as upstream.
const maxBody = 3 << 20

// readBody reads all of the request's body. Reading one byte more than allowed is how
// one notices a body that is too large.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil || errors.As(err, &tooLarge):
		return body, err
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	}
	return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to read the body: %v", err))
}

// bodyMedia is how the body is serialized. None said means JSON.
func bodyMedia(r *http.Request) (media, error) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return jsonMedia, nil
	}
	t, _, err := mime.ParseMediaType(header)
	if m, ok := mediaOf(t); ok && err == nil {
		return m, nil
	}
	return 0, errUnsupportedMedia(strings.Join(representations, ", "))
}

// decodeBody reads the request's body as an object of the given version.
func (c *call) decodeBody(v *api.Version, validation string) (api.Object, error) {
	m, err := bodyMedia(c.r)
	if err != nil {
		return nil, err
	}
	body, err := readBody(c.r)
	if err != nil {
		return nil, err
	}
	return c.decode(body, m, v, validation)
}

// decode reads an object. Fields it doesn't have are an error, a warning or nothing,
// as the client asked for by fieldValidation.
func (c *call) decode(body []byte, m media, v *api.Version, validation string) (api.Object, error) {
	o, gvk, err := decoder(m, v, validation != metav1.FieldValidationIgnore).Decode(body, &v.GroupVersionKind, nil)
	if strict, ok := runtime.AsStrictDecodingError(err); ok && o != nil && validation != metav1.FieldValidationStrict {
		for _, e := range strict.Errors() {
			c.warn(e.Error())
		}
		err = nil
	}
	var wrong *wrongKind
	switch {
	case errors.As(err, &wrong) && wrong.otherVersion():
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)",
			wrong.got.GroupVersion(), wrong.want.GroupVersion()))
	case err != nil && gvk != nil && gvk.Kind != "":
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, v.Kind, err))
	case err != nil:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", v.Kind, err, summary(body)))
	}
	return o.(api.Object), nil
}

// decoder reads one kind in one serialization.
func decoder(m media, v *api.Version, strict bool) runtime.Decoder {
	return decoderOf(m, onlyKind{v}, strict)
}

func decoderOf(m media, kinds runtime.ObjectCreater, strict bool) runtime.Decoder {
	switch m {
	case protobufMedia:
		return protobuf.NewSerializer(kinds, nil)
	case cborMedia:
		return cbor.NewSerializer(kinds, nil, cbor.Strict(strict))
	}
	return jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, kinds, nil,
		jsonserializer.SerializerOptions{Yaml: m == yamlMedia, Strict: strict})
}

// onlyKind is a scheme of one kind.
type onlyKind struct{ *api.Version }

func (k onlyKind) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if gvk != k.GroupVersionKind {
		return nil, &wrongKind{got: gvk, want: k.GroupVersionKind}
	}
	return k.Version.New(), nil
}

// wrongKind is returned for a body that is something else than the path says.
type wrongKind struct{ got, want schema.GroupVersionKind }

func (e *wrongKind) Error() string {
	if !scheme.Scheme.Recognizes(e.got) {
		return runtime.NewNotRegisteredErrForKind("pkg/runtime/scheme.go:111", e.got).Error()
	}
	// Upstream tries to convert between Go types, and names these.
	return fmt.Sprintf("converting (%s.%s) to (%s.%s): unknown conversion",
		e.got.Version, e.got.Kind, groupTitle(e.want.Group), e.want.Kind)
}

// otherVersion says whether it is the right kind, in another version.
func (e *wrongKind) otherVersion() bool {
	return e.got.Kind == e.want.Kind && e.got != e.want && scheme.Scheme.Recognizes(e.got)
}

// groupTitle is the short name of a group: core, apps, networking.
func groupTitle(group string) string {
	first, _, _ := strings.Cut(group, ".")
	return cmp.Or(first, "core")
}

// summary is the beginning of a body, for error messages; what isn't JSON in hexadecimal.
func summary(body []byte) string {
	const most = 30
	if len(body) == 0 {
		return "<empty>"
	}
	more := ""
	if len(body) > most {
		body, more = body[:most], " ..."
	}
	if body[0] == '{' {
		return string(body) + more
	}
	return hex.EncodeToString(body) + more
}

// warn adds a Warning header, which kubectl prints. Must precede the answer.
func (c *call) warn(text string) {
	if slices.Contains(c.warned, text) {
		return // a write that was tried again warns again
	}
	c.warned = append(c.warned, text)
	if header, err := utilnet.NewWarningHeader(299, "-", text); err == nil {
		c.w.Header().Add("Warning", header)
	}
}
