package bootstrapsigner

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	kubeconfigKey   = "kubeconfig"
	signaturePrefix = "jws-kubeconfig-" // and the token's id
	secretPrefix    = "bootstrap-token-"
)

// signed is the ConfigMap's data with one signature for each token that may sign, and
// no others.
func signed(data map[string]string, secrets []corev1.Secret, now time.Time) map[string]string {
	kubeconfig, ok := data[kubeconfigKey]
	if !ok {
		return data
	}
	next := maps.Clone(data)
	maps.DeleteFunc(next, func(key, _ string) bool { return strings.HasPrefix(key, signaturePrefix) })
	for i := range secrets {
		if id, secret, ok := signer(&secrets[i], now); ok {
			next[signaturePrefix+id] = sign(kubeconfig, id, secret)
		}
	}
	return next
}

// signer is the token that a Secret holds, if it may sign.
func signer(s *corev1.Secret, now time.Time) (id, secret string, ok bool) {
	id, secret = string(s.Data["token-id"]), string(s.Data["token-secret"])
	ok = s.Type == corev1.SecretTypeBootstrapToken && id != "" && s.Name == secretPrefix+id && secret != "" &&
		string(s.Data["usage-bootstrap-signing"]) == "true"
	if expiration := string(s.Data["expiration"]); expiration != "" {
		end, err := time.Parse(time.RFC3339, expiration)
		ok = ok && err == nil && now.Before(end)
	}
	return id, secret, ok
}

// sign makes a JWS with HS256 whose content is left out (RFC 7515, appendix F): whoever
// checks it has the content, and compares letter by letter.
func sign(content, id, secret string) string {
	header, _ := json.Marshal(struct { // two strings: cannot fail
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}{"HS256", id})
	encode := base64.RawURLEncoding.EncodeToString
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(encode(header) + "." + encode([]byte(content))))
	return encode(header) + ".." + encode(mac.Sum(nil))
}
