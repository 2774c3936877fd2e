package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// answer has the API answer what it computes and does not store: may he, who is that, and
// a token, please.
func (c *cluster) answer() {
	for resource, react := range map[string]clienttesting.ReactionFunc{
		"subjectaccessreviews": may, "tokenreviews": c.who, "serviceaccounts": c.token,
	} {
		c.api.(*fake.Clientset).PrependReactor("create", resource, react)
	}
	c.api.(*fake.Clientset).PrependReactor("*", "pods", c.number)
}

// number gives every version of a Pod a resourceVersion. The fake API does not, and an
// agent that cannot tell an old version from a new one answers the one with the other.
func (c *cluster) number(a clienttesting.Action) (bool, runtime.Object, error) {
	c.versions++ // one at a time: the fake API is locked
	version := strconv.Itoa(c.versions)
	switch action := a.(type) {
	case clienttesting.CreateActionImpl:
		action.Object.(*corev1.Pod).ResourceVersion = version
	case clienttesting.UpdateActionImpl:
		action.Object.(*corev1.Pod).ResourceVersion = version
	case clienttesting.PatchActionImpl:
		var patch map[string]any
		if err := json.Unmarshal(action.Patch, &patch); err != nil {
			return true, nil, err
		}
		metadata, _ := patch["metadata"].(map[string]any)
		if metadata == nil {
			metadata = map[string]any{}
		}
		metadata["resourceVersion"], patch["metadata"] = version, metadata
		action.Patch, _ = json.Marshal(patch) // it was JSON
		return clienttesting.ObjectReaction(c.api.(*fake.Clientset).Tracker())(action)
	}
	return false, nil, nil
}

// may: masters may do everything, the user monitor may read node1's metrics.
func may(a clienttesting.Action) (bool, runtime.Object, error) {
	review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
	what := review.Spec.ResourceAttributes
	review.Status.Allowed = slices.Contains(review.Spec.Groups, "system:masters") ||
		review.Spec.User == "monitor" && what.Verb == "get" && what.Resource == "nodes" && what.Subresource == "metrics" && what.Name == "node1"
	return true, review, nil
}

// who knows two tokens.
func (c *cluster) who(a clienttesting.Action) (bool, runtime.Object, error) {
	c.reviewed.Add(1)
	review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
	user, ok := map[string]string{"spy's": "spy", "monitor's": "monitor"}[review.Spec.Token]
	review.Status.Authenticated, review.Status.User.Username = ok, user
	return true, review, nil
}

// token issues numbered ones.
func (c *cluster) token(a clienttesting.Action) (bool, runtime.Object, error) {
	if a.GetSubresource() != "token" {
		return false, nil, nil
	}
	req := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenRequest).DeepCopy()
	ref := req.Spec.BoundObjectRef
	req.Status = authenticationv1.TokenRequestStatus{
		Token:               fmt.Sprintf("%d for %s %s of %s", c.issued.Add(1), ref.Kind, ref.Name, a.(clienttesting.CreateActionImpl).Name),
		ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour)),
	}
	return true, req, nil
}
