package auth

import (
	"context"
	"crypto/subtle"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// BootstrapTokens knows users by tokens that an administrator has put into Secrets of
// the type bootstrap.kubernetes.io/token in kube-system: whoever wants to join the
// cluster shows one before he has a certificate.
//
// Upstream counterpart: plugin/pkg/auth/authenticator/token/bootstrap.
type BootstrapTokens struct {
	Audiences []string // what the API server calls itself
	Objects   Objects
}

// bootstrapToken is ID.SECRET; the ID is part of the Secret's name.
var (
	bootstrapToken = regexp.MustCompile(`\A([a-z0-9]{6})\.([a-z0-9]{16})\z`)
	bootstrapGroup = regexp.MustCompile(`\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`)
)

// GroupBootstrappers is the group of everyone with a bootstrap token.
const GroupBootstrappers = "system:bootstrappers"

// AuthenticateToken implements TokenAuthenticator. The token of nobody is no error.
func (b BootstrapTokens) AuthenticateToken(ctx context.Context, token string, audiences []string) (*User, []string, error) {
	matched := intersect(b.Audiences, audiences)
	parts := bootstrapToken.FindStringSubmatch(token)
	if parts == nil || len(matched) == 0 {
		return nil, nil, nil
	}
	o, err := b.Objects.Get(ctx, schema.GroupResource{Resource: "secrets"}, metav1.NamespaceSystem, "bootstrap-token-"+parts[1])
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	groups, ok := bootstrapper(o.(*corev1.Secret), parts[1], parts[2], time.Now())
	if !ok {
		return nil, nil, nil
	}
	return &User{Name: "system:bootstrap:" + parts[1], Groups: groups}, matched, nil
}

// bootstrapper says whether the Secret lets in who knows id and secret, and to which
// groups he belongs.
func bootstrapper(s *corev1.Secret, id, secret string, now time.Time) (groups []string, ok bool) {
	groups, valid := bootstrapGroups(string(s.Data["auth-extra-groups"]))
	ok = s.DeletionTimestamp == nil &&
		s.Type == corev1.SecretTypeBootstrapToken &&
		subtle.ConstantTimeCompare(s.Data["token-secret"], []byte(secret)) == 1 &&
		string(s.Data["token-id"]) == id &&
		!expired(string(s.Data["expiration"]), now) &&
		string(s.Data["usage-bootstrap-authentication"]) == "true" &&
		valid
	return groups, ok
}

// expired says whether the time, in RFC 3339, is over; one that cannot be read is.
func expired(expiration string, now time.Time) bool {
	if expiration == "" {
		return false
	}
	end, err := time.Parse(time.RFC3339, expiration)
	return err != nil || !now.Before(end)
}

// bootstrapGroups are the groups that a comma separated list adds.
func bootstrapGroups(list string) (groups []string, ok bool) {
	groups = []string{GroupBootstrappers}
	if list == "" {
		return groups, true
	}
	for group := range strings.SplitSeq(list, ",") {
		if !bootstrapGroup.MatchString(group) {
			return nil, false
		}
		groups = append(groups, group)
	}
	slices.Sort(groups)
	return slices.Compact(groups), true
}
