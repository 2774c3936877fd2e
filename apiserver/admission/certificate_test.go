package admission

import (
	"context"
	"errors"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
	"orrery.example.org/pki"
)

// grants allows verbs on signers, "approve example.com/*"; "broken" fails.
type grants map[string]bool

func (g grants) Authorize(_ context.Context, a auth.Attributes) (bool, string, error) {
	if a.Group != "certificates.k8s.io" || a.Resource != "signers" || a.Namespace != "" || a.User.Name != "jane" {
		return false, "", errors.New("asked about something else")
	}
	if g["broken"] {
		return true, "", errors.New("no answer")
	}
	return g[a.Verb+" "+a.Name], "", nil
}

func TestCertificatePlugins(t *testing.T) {
	const signer, client = "example.com/serving", certificatesv1.KubeAPIServerClientSignerName
	request := func(signer string, group ...string) *certificatesv1.CertificateSigningRequest {
		key, err := pki.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		pem, err := pki.NewRequest(key, pki.Request{User: "jane", Groups: group})
		if err != nil {
			t.Fatal(err)
		}
		return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: signer, Request: pem}}
	}
	issued := request(signer)
	issued.Status.Certificate = []byte("a certificate")
	failed := request(signer)
	failed.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue}}
	moved := request("example.com/other")
	garbage := request(client)
	garbage.Spec.Request = []byte("nonsense")

	for _, c := range []struct {
		name        string
		op          Operation
		subresource string
		object, old *certificatesv1.CertificateSigningRequest
		grants      grants
		want        string // "" lets it pass
	}{
		{"approve without right", Update, "approval", request(signer), request(signer), grants{"sign " + signer: true},
			`certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with signerName "example.com/serving"`},
		{"approve with right", Update, "approval", request(signer), request(signer), grants{"approve " + signer: true}, ""},
		{"approve with the domain's", Update, "approval", request(signer), request(signer), grants{"approve example.com/*": true}, ""},
		{"the stored signer counts", Update, "approval", moved, request(signer), grants{"approve example.com/other": true},
			`certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with signerName "example.com/serving"`},
		{"an error is no right", Update, "approval", request(signer), request(signer), grants{"broken": true},
			`certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with signerName "example.com/serving"`},
		{"labels need no right", Update, "", request(signer), request(signer), nil, ""},
		{"sign without right", Update, "status", issued, request(signer), grants{"approve " + signer: true},
			`certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to sign requests with signerName "example.com/serving"`},
		{"fail without right", Update, "status", failed, request(signer), nil,
			`certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to sign requests with signerName "example.com/serving"`},
		{"sign with right", Update, "status", issued, request(signer), grants{"sign " + signer: true}, ""},
		{"a status as it was", Update, "status", issued, issued, nil, ""},
		{"masters", Create, "", request(client, "system:masters"), nil, nil,
			`certificatesigningrequests.certificates.k8s.io "r" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed`},
		{"masters of another signer", Create, "", request(signer, "system:masters"), nil, nil, ""},
		{"others", Create, "", request(client, "developers"), nil, nil, ""},
		{"garbage", Create, "", garbage, nil, nil,
			`certificatesigningrequests.certificates.k8s.io "r" is forbidden: failed to parse CSR: PEM block type must be CERTIFICATE REQUEST`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &Attributes{
				Operation: c.op, Subresource: c.subresource, Name: "r", Object: c.object, User: &auth.User{Name: "jane"},
				Kind: api.ByResource("certificates.k8s.io", "certificatesigningrequests"), Authorizer: c.grants,
			}
			if c.old != nil {
				a.Old = c.old
			}
			err := Validate(t.Context(), a)
			if got := errorText(err); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
