package auth

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"

	"github.com/gorilla/mux"
)

// Other systems can check the tokens of this cluster, too: they find the keys by OpenID
// Connect's discovery.
const (
	configurationPath = "/.well-known/openid-configuration"
	keysPath          = "/openid/v1/jwks"
)

// Register adds the two documents of OpenID discovery to r. external is the host:port
// under which the keys can be had.
func (i *Issuer) Register(r *mux.Router, external string) {
	r.Handle(keysPath, fixed("application/jwk-set+json", map[string]any{"keys": []any{i.webKey()}})).Methods(http.MethodGet)
	r.Handle(configurationPath, fixed("application/json", struct {
		Issuer        string   `json:"issuer"`
		Keys          string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{i.Name, "https://" + external + keysPath, []string{"id_token"}, []string{"public"}, []string{i.method.Alg()}})).Methods(http.MethodGet)
}

// fixed serves a document that doesn't change.
func fixed(mediaType string, document any) http.Handler {
	body, err := json.Marshal(document)
	if err != nil {
		panic(fmt.Sprintf("describe the issuer of tokens: %v", err)) // all of it is strings
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(body) // who doesn't listen misses it
	})
}

// webKey is the public key as RFC 7517 writes it.
type webKey struct {
	Use       string `json:"use"`
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Curve     string `json:"crv,omitempty"`
	Algorithm string `json:"alg"`
	X         string `json:"x,omitempty"` // ECDSA: the point
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"` // RSA: modulus and exponent
	E         string `json:"e,omitempty"`
}

func (i *Issuer) webKey() webKey {
	k := webKey{Use: "sig", ID: i.keyID, Algorithm: i.method.Alg()}
	switch public := i.key.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, X, Y
		if err != nil {
			panic(fmt.Sprintf("the key signs tokens but is no point of its curve: %v", err)) // New has checked it
		}
		half := len(point) / 2
		k.Type, k.Curve, k.X, k.Y = "EC", public.Curve.Params().Name, encode(point[1:half+1]), encode(point[half+1:])
	case *rsa.PublicKey:
		k.Type, k.N, k.E = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	}
	return k
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
