package apiserver

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestWhoAmI(t *testing.T) {
	c := start(t)
	want := authenticationv1.UserInfo{Username: "kubernetes-admin", Groups: []string{"system:masters", "system:authenticated"}}
	for name, client := range map[string]*kubernetes.Clientset{"json": c.client(), "protobuf": c.protobuf()} {
		for _, dryRun := range [][]string{nil, {metav1.DryRunAll}} {
			got, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(),
				&authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "eve"}}},
				metav1.CreateOptions{DryRun: dryRun})
			if err != nil {
				t.Fatal(name, err)
			}
			if id := got.Status.UserInfo.Extra["authentication.kubernetes.io/credential-id"]; len(id) != 1 || !strings.HasPrefix(id[0], "X509SHA256=") {
				t.Errorf("%s: credential id %v", name, id)
			}
			got.Status.UserInfo.Extra = nil
			if diff := cmp.Diff(want, got.Status.UserInfo); diff != "" || got.CreationTimestamp.IsZero() {
				t.Errorf("%s: %v %s", name, got.CreationTimestamp, diff)
			}
		}
	}
}

// TestQuestionsAreOnlyCreated: what is not stored has no other verbs and no names.
func TestQuestionsAreOnlyCreated(t *testing.T) {
	c := start(t)
	for _, r := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/apis/authentication.k8s.io/v1/selfsubjectreviews", 405},
		{"GET", "/apis/authentication.k8s.io/v1/selfsubjectreviews?watch=1", 405},
		{"DELETE", "/apis/authentication.k8s.io/v1/selfsubjectreviews", 405},
		{"GET", "/apis/authentication.k8s.io/v1/selfsubjectreviews/x", 404},
		{"POST", "/apis/authentication.k8s.io/v1/namespaces/default/selfsubjectreviews", 404},
		{"POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews?dryRun=Some", 422},
		{"POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews?fieldValidation=Strict", 400}, // below: an unknown field
		{"POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", 201},
	} {
		req, err := http.NewRequestWithContext(t.Context(), r.method, c.url+r.path, strings.NewReader(`{"what":1}`))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != r.code {
			t.Errorf("%s %s: %s %s", r.method, r.path, resp.Status, body)
		}
	}
}
