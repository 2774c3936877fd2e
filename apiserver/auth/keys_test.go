package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"io"
	"math/big"
	"testing"
)

// publicKey reads a key as another system does.
func publicKey(t *testing.T, k map[string]any) crypto.PublicKey {
	t.Helper()
	number := func(name string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(k[name].(string))
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(b)
	}
	switch k["kty"] {
	case "RSA":
		return &rsa.PublicKey{N: number("n"), E: int(number("e").Int64())}
	case "EC":
		curve := map[any]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}[k["crv"]]
		return &ecdsa.PublicKey{Curve: curve, X: number("x"), Y: number("y")}
	}
	t.Fatalf("key %v", k)
	return nil
}

// ed25519Key is a key of a sort that Kubernetes doesn't sign with.
type ed25519Key struct{}

func (ed25519Key) Public() crypto.PublicKey { return ed25519.PublicKey(make([]byte, 32)) }
func (ed25519Key) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, nil
}
