package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
)

// DefaultIssuer is who signs tokens and, unless configured otherwise, whom they are for.
const DefaultIssuer = "https://kubernetes.default.svc.cluster.local"

// legacyIssuer signs what a controller puts into Secrets of the type
// kubernetes.io/service-account-token. Such tokens don't expire.
const legacyIssuer = "kubernetes/serviceaccount"

// Ref names one object; if it is deleted and made anew, it is another.
type Ref struct {
	Name string    `json:"name,omitempty"`
	UID  types.UID `json:"uid,omitempty"`
}

// Binding is what a token is good for: a ServiceAccount, as long as that exists and
// what else the token is bound to. A Node beside a Pod is only told, not checked.
type Binding struct {
	Namespace string           `json:"namespace,omitempty"`
	Account   Ref              `json:"serviceaccount"`
	Pod       *Ref             `json:"pod,omitempty"`
	Secret    *Ref             `json:"secret,omitempty"`
	Node      *Ref             `json:"node,omitempty"`
	WarnAfter *jwt.NumericDate `json:"warnafter,omitempty"`
}

// claims are the body of a token.
type claims struct {
	jwt.RegisteredClaims
	Binding Binding `json:"kubernetes.io"`
	legacyClaims

	owner *User // made of the above, once they are verified
}

// legacyClaims are those of a token that lives in a Secret.
type legacyClaims struct {
	Account    string    `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	AccountUID types.UID `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
	Secret     string    `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	Namespace  string    `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
}

// Issuer signs the tokens of ServiceAccounts, and knows them again.
//
// Upstream counterpart: pkg/serviceaccount of kubernetes/kubernetes.
type Issuer struct {
	Name      string
	Audiences []string // what the API server calls itself

	objects Objects
	key     crypto.Signer
	keyID   string
	method  jwt.SigningMethod
	parser  *jwt.Parser

	// verified remembers tokens whose signature was found good, by their hash. Whether
	// what they are bound to still exists is looked at every time: that is cheap.
	//
	// Kubernetes: remembers the user for 10 seconds, whatever happens meanwhile.
	verified *lru.Cache // [sha256.Size]byte -> *claims
}

// rememberedTokens is about one per Pod and per second generation of its token; each
// takes some 2 KB.
const rememberedTokens = 4096

// NewIssuer signs with the key, which is RSA or ECDSA. Without audiences, tokens are for
// the issuer itself.
func NewIssuer(name string, audiences []string, key crypto.Signer, objects Objects) (*Issuer, error) {
	if name == "" {
		name = DefaultIssuer
	}
	if len(audiences) == 0 {
		audiences = []string{name}
	}
	method, err := signingMethod(key.Public())
	if err != nil {
		return nil, err
	}
	keyID, err := keyID(key.Public())
	if err != nil {
		return nil, err
	}
	return &Issuer{
		Name: name, Audiences: audiences, objects: objects, key: key, keyID: keyID, method: method,
		parser:   jwt.NewParser(jwt.WithValidMethods([]string{method.Alg()}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding()),
		verified: lru.New(rememberedTokens),
	}, nil
}

// signingMethod is the algorithm for which the key is made.
func signingMethod(public crypto.PublicKey) (jwt.SigningMethod, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return jwt.SigningMethodRS256, nil
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return jwt.SigningMethodES256, nil
		case 384:
			return jwt.SigningMethodES384, nil
		case 521:
			return jwt.SigningMethodES512, nil
		}
	}
	return nil, fmt.Errorf("tokens are signed with RSA or ECDSA keys, not with a %T", public)
}

// keyID names a key without telling it.
func keyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("name the key that signs tokens: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// Issue signs a token that is good from now on for lifetime. warnAfter is the part of
// it after which its use is worth noting; 0: none.
func (i *Issuer) Issue(b Binding, audiences []string, now time.Time, lifetime, warnAfter time.Duration) (string, error) {
	if warnAfter > 0 {
		b.WarnAfter = jwt.NewNumericDate(now.Add(warnAfter))
	}
	token := jwt.NewWithClaims(i.method, &claims{Binding: b, RegisteredClaims: jwt.RegisteredClaims{
		Issuer:    i.Name,
		Subject:   serviceAccountPrefix + b.Namespace + ":" + b.Account.Name,
		Audience:  audiences,
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(lifetime)),
		ID:        uuid.NewString(),
	}})
	delete(token.Header, "typ")
	token.Header["kid"] = i.keyID
	signed, err := token.SignedString(i.key)
	if err != nil {
		return "", fmt.Errorf("sign a token for ServiceAccount %s/%s: %w", b.Namespace, b.Account.Name, err)
	}
	return signed, nil
}

// AuthenticateToken implements TokenAuthenticator.
func (i *Issuer) AuthenticateToken(ctx context.Context, token string, audiences []string) (*User, []string, error) {
	if iss := claimedIssuer(token); iss != i.Name && iss != legacyIssuer {
		return nil, nil, nil
	}
	c, err := i.verify(token)
	if err != nil {
		return nil, nil, err
	}
	good := c.Audience
	if len(good) == 0 {
		good = i.Audiences
	}
	matched := intersect(good, audiences)
	if len(matched) == 0 {
		return nil, nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", []string(good), audiences)
	}
	if c.Issuer == legacyIssuer {
		err = i.checkLegacy(ctx, c, token)
	} else {
		err = i.check(ctx, c)
	}
	if err != nil {
		return nil, nil, err
	}
	return c.owner, matched, nil
}

// verify checks the signature and reads what is signed.
func (i *Issuer) verify(token string) (*claims, error) {
	hash := sha256.Sum256([]byte(token))
	if c, ok := i.verified.Get(hash); ok {
		return c.(*claims), nil
	}
	c := &claims{}
	_, err := i.parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) {
		if kid, ok := t.Header["kid"]; ok && kid != i.keyID {
			return nil, errors.New("invalid signature, no keys found")
		}
		return i.key.Public(), nil
	})
	if err != nil {
		return nil, err
	}
	if c.Issuer != i.Name && c.Issuer != legacyIssuer {
		return nil, fmt.Errorf("token issuer %q is invalid", c.Issuer)
	}
	c.owner = c.user()
	i.verified.Add(hash, c)
	return c, nil
}

// claimedIssuer is who a token says signed it, "" if it isn't a JWT at all. Whether that
// is true has yet to be found out.
func claimedIssuer(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claimed struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claimed) != nil {
		return ""
	}
	return claimed.Issuer
}
