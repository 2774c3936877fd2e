package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/api"
	"orrery.example.org/pki"
)

// objects are what is stored, by resource/namespace/name.
type objects map[string]api.Object

func (o objects) Get(_ context.Context, gr schema.GroupResource, namespace, name string) (api.Object, error) {
	if found := o[gr.Resource+"/"+namespace+"/"+name]; found != nil {
		return found, nil
	}
	return nil, apierrors.NewNotFound(gr, name)
}

func meta(name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, UID: types.UID(uid)}
}

// shop has one of everything that a token can be bound to.
func shop() objects {
	return objects{
		"serviceaccounts/shop/till": &corev1.ServiceAccount{ObjectMeta: meta("till", "sa-1")},
		"pods/shop/web":             &corev1.Pod{ObjectMeta: meta("web", "pod-1")},
		"secrets/shop/vault":        &corev1.Secret{ObjectMeta: meta("vault", "secret-1")},
		"nodes//node1":              &corev1.Node{ObjectMeta: meta("node1", "node-1")},
	}
}

func signingKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := pki.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newIssuer(t testing.TB, key crypto.Signer, stored objects) *Issuer {
	t.Helper()
	issuer, err := NewIssuer("", nil, key, stored)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

var (
	ours = []string{DefaultIssuer}
	till = Ref{Name: "till", UID: "sa-1"}
)

func TestTokenTellsWhoItIs(t *testing.T) {
	issuer := newIssuer(t, signingKey(t), shop())
	binding := Binding{Namespace: "shop", Account: till, Pod: &Ref{"web", "pod-1"}, Node: &Ref{"gone", ""}}
	token, err := issuer.Issue(binding, []string{"vault", DefaultIssuer}, time.Now(), time.Hour, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	user, audiences, err := issuer.AuthenticateToken(t.Context(), token, append(ours, "other"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ours, audiences); diff != "" {
		t.Error(diff)
	}
	id := user.Extra[extraCredentialID]
	if len(id) != 1 || !strings.HasPrefix(id[0], "JTI=") {
		t.Errorf("credential id %q", id)
	}
	delete(user.Extra, extraCredentialID)
	want := &User{
		Name: "system:serviceaccount:shop:till", UID: "sa-1",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"},
		Extra: map[string][]string{
			"authentication.kubernetes.io/pod-name": {"web"}, "authentication.kubernetes.io/pod-uid": {"pod-1"},
			"authentication.kubernetes.io/node-name": {"gone"},
		},
	}
	if diff := cmp.Diff(want, user); diff != "" {
		t.Error(diff)
	}
}

// TestTokenDiesWithWhatItIsBoundTo shows each token twice: it is remembered by then.
func TestTokenDiesWithWhatItIsBoundTo(t *testing.T) {
	long := metav1.NewTime(time.Now().Add(-2 * time.Minute))
	justNow := metav1.NewTime(time.Now())
	bound := map[string]Binding{
		"account": {Namespace: "shop", Account: till},
		"pod":     {Namespace: "shop", Account: till, Pod: &Ref{"web", "pod-1"}, Node: &Ref{"node1", "node-1"}},
		"secret":  {Namespace: "shop", Account: till, Secret: &Ref{"vault", "secret-1"}},
		"node":    {Namespace: "shop", Account: till, Node: &Ref{"node1", "node-1"}},
	}
	for _, c := range []struct {
		name, token string
		change      func(objects)
		want        string // "": it still counts
	}{
		{"nothing happens", "pod", func(objects) {}, ""},
		{"account deleted", "account", func(o objects) { delete(o, "serviceaccounts/shop/till") }, `serviceaccounts "till" not found`},
		{"account made anew", "pod", func(o objects) { o["serviceaccounts/shop/till"].SetUID("sa-2") }, "service account UID (sa-2) does not match claim (sa-1)"},
		{"account going", "account", func(o objects) { o["serviceaccounts/shop/till"].SetDeletionTimestamp(&justNow) }, ""},
		{"account long gone", "account", func(o objects) { o["serviceaccounts/shop/till"].SetDeletionTimestamp(&long) }, "service account shop/till has been deleted"},
		{"pod deleted", "pod", func(o objects) { delete(o, "pods/shop/web") }, "service account token has been invalidated"},
		{"pod made anew", "pod", func(o objects) { o["pods/shop/web"].SetUID("pod-2") }, "pod UID (pod-2) does not match service account pod ref claim (pod-1)"},
		{"pod long gone", "pod", func(o objects) { o["pods/shop/web"].SetDeletionTimestamp(&long) }, "service account token has been invalidated"},
		{"the pod's node deleted", "pod", func(o objects) { delete(o, "nodes//node1") }, ""},
		{"node deleted", "node", func(o objects) { delete(o, "nodes//node1") }, "service account token has been invalidated"},
		{"secret made anew", "secret", func(o objects) { o["secrets/shop/vault"].SetUID("s") }, "secret UID (s) does not match service account secret ref claim (secret-1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stored := shop()
			issuer := newIssuer(t, signingKey(t), stored)
			token, err := issuer.Issue(bound[c.token], ours, time.Now(), time.Hour, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := issuer.AuthenticateToken(t.Context(), token, ours); err != nil {
				t.Fatal("before:", err)
			}
			c.change(stored)
			user, _, err := issuer.AuthenticateToken(t.Context(), token, ours)
			if message := text(err); message != c.want || (user == nil) != (c.want != "") {
				t.Errorf("got %v, %q; want %q", user, message, c.want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestTokenExpires(t *testing.T) {
	key := signingKey(t)
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer(t, key, shop())
		token, err := issuer.Issue(Binding{Namespace: "shop", Account: till}, ours, time.Now().Add(2*time.Minute), 10*time.Minute, 0)
		if err != nil {
			t.Fatal(err)
		}
		check := func(want string) {
			t.Helper()
			if _, _, err := issuer.AuthenticateToken(t.Context(), token, ours); text(err) != want {
				t.Errorf("got %v, want %q", err, want)
			}
		}
		check("service account token is not valid yet")
		time.Sleep(time.Minute) // clocks may differ by one
		check("")
		time.Sleep(12 * time.Minute)
		check("")
		time.Sleep(time.Second)
		check("service account token has expired")
	})
}

// sign makes a token that no issuer would.
func sign(t *testing.T, method jwt.SigningMethod, key any, c jwt.Claims, header map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	for k, v := range header {
		token.Header[k] = v
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestForgedTokens(t *testing.T) {
	key := signingKey(t)
	issuer := newIssuer(t, key, shop())
	good, err := issuer.Issue(Binding{Namespace: "shop", Account: till}, ours, time.Now(), time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	body := func(iss string) *claims {
		return &claims{RegisteredClaims: jwt.RegisteredClaims{Issuer: iss, Audience: ours}, Binding: Binding{Namespace: "shop", Account: till}}
	}
	parts := strings.Split(good, ".")
	public, err := key.(*ecdsa.PrivateKey).PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, token, want string }{
		{"no JWT", "abc", ""},
		{"somebody else's", sign(t, jwt.SigningMethodES256, signingKey(t), body("https://elsewhere"), nil), ""},
		{"our name, another key", sign(t, jwt.SigningMethodES256, signingKey(t), body(DefaultIssuer), nil), "verification error"},
		{"our name, another key's id", sign(t, jwt.SigningMethodES256, key, body(DefaultIssuer), map[string]any{"kid": "x"}), "no keys found"},
		{"unsigned", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, body(DefaultIssuer), nil), "signing method none is invalid"},
		{"signed with the public key", sign(t, jwt.SigningMethodHS256, public, body(DefaultIssuer), nil), "signing method HS256 is invalid"},
		{"without its signature", parts[0] + "." + parts[1] + ".", "verification error"},
		{"for somebody else", func() string {
			token, _ := issuer.Issue(Binding{Namespace: "shop", Account: till}, []string{"vault"}, time.Now(), time.Hour, 0)
			return token
		}(), `token audiences ["vault"] is invalid for the target audiences ["` + DefaultIssuer + `"]`},
		{"a Secret's that no Secret has", sign(t, jwt.SigningMethodES256, key, &claims{
			RegisteredClaims: jwt.RegisteredClaims{Issuer: legacyIssuer, Subject: "system:serviceaccount:shop:till"},
			legacyClaims:     legacyClaims{Account: "till", AccountUID: "sa-1", Secret: "vault", Namespace: "shop"}}, nil), "Token does not match server's copy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			user, _, err := issuer.AuthenticateToken(t.Context(), c.token, ours)
			if user != nil || (c.want == "") != (err == nil) || !strings.Contains(text(err), c.want) {
				t.Errorf("got %v %v, want %q", user, err, c.want)
			}
		})
	}
}

func TestTokenOfASecret(t *testing.T) {
	key, stored := signingKey(t), shop()
	issuer := newIssuer(t, key, stored)
	token := sign(t, jwt.SigningMethodES256, key, &claims{
		RegisteredClaims: jwt.RegisteredClaims{Issuer: legacyIssuer, Subject: "system:serviceaccount:shop:till"},
		legacyClaims:     legacyClaims{Account: "till", AccountUID: "sa-1", Secret: "vault", Namespace: "shop"}}, nil)
	stored["secrets/shop/vault"].(*corev1.Secret).Data = map[string][]byte{"token": []byte(token)}
	user, _, err := issuer.AuthenticateToken(t.Context(), token, ours)
	if err != nil || user.Name != "system:serviceaccount:shop:till" || user.UID != "sa-1" {
		t.Fatalf("got %v %v", user, err)
	}
	stored["serviceaccounts/shop/till"].SetUID("sa-2")
	if _, _, err := issuer.AuthenticateToken(t.Context(), token, ours); err == nil {
		t.Error("it survives its account")
	}
}

// TestKeys reads the published key and checks a token with it, for each sort of key.
func TestKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{"ES256": signingKey(t), "ES384": p384, "RS256": rsaKey} {
		t.Run(alg, func(t *testing.T) {
			issuer := newIssuer(t, key, shop())
			token, err := issuer.Issue(Binding{Namespace: "shop", Account: till}, ours, time.Now(), time.Hour, 0)
			if err != nil {
				t.Fatal(err)
			}
			if user, _, err := issuer.AuthenticateToken(t.Context(), token, ours); err != nil || user == nil {
				t.Fatal(user, err)
			}
			r := mux.NewRouter()
			issuer.Register(r, "172.30.0.2:6443")
			get := func(path string) map[string]any {
				w := httptest.NewRecorder()
				r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
				var document map[string]any
				if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil || w.Code != 200 {
					t.Fatal(path, w.Code, err)
				}
				return document
			}
			configuration := get("/.well-known/openid-configuration")
			want := map[string]any{
				"issuer": DefaultIssuer, "jwks_uri": "https://172.30.0.2:6443/openid/v1/jwks",
				"response_types_supported": []any{"id_token"}, "subject_types_supported": []any{"public"},
				"id_token_signing_alg_values_supported": []any{alg},
			}
			if diff := cmp.Diff(want, configuration); diff != "" {
				t.Error(diff)
			}
			published := get("/openid/v1/jwks")["keys"].([]any)[0].(map[string]any)
			parsed, err := jwt.Parse(token, func(tok *jwt.Token) (any, error) {
				if tok.Header["kid"] != published["kid"] || tok.Header["alg"] != published["alg"] {
					t.Errorf("header %v, key %v", tok.Header, published)
				}
				return publicKey(t, published), nil
			})
			if err != nil || !parsed.Valid {
				t.Errorf("with the published key: %v", err)
			}
		})
	}
	if _, err := NewIssuer("", nil, ed25519Key{}, nil); err == nil {
		t.Error("a key that cannot be used is taken")
	}
}

func FuzzToken(f *testing.F) {
	issuer := newIssuer(f, signingKey(f), shop())
	good, err := issuer.Issue(Binding{Namespace: "shop", Account: till}, ours, time.Now(), time.Hour, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.e30.c")
	f.Add("...")
	f.Fuzz(func(t *testing.T, token string) {
		user, _, err := issuer.AuthenticateToken(t.Context(), token, ours)
		if user != nil && (err != nil || token != good) {
			t.Errorf("%q is %v (%v)", token, user, err)
		}
	})
}
