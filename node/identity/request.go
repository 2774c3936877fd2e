package identity

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"orrery.example.org/api"
	"orrery.example.org/pki"
)

// wanted is a certificate that the node asks for.
type wanted struct {
	pki.Request
	signer  string
	usages  []certificatesv1.KeyUsage
	pending string // file of the key while nobody has answered: a restart asks for the same again
}

// errGone: somebody deleted the request before it had an answer.
var errGone = errors.New("the certificate signing request was deleted before it was answered")

// request asks for a certificate and waits until there is one.
func (n *Identity) request(ctx context.Context, client kubernetes.Interface, w wanted) (*tls.Certificate, error) {
	for {
		key, err := pendingKey(w.pending)
		if err != nil {
			return nil, err
		}
		name, err := submit(ctx, client, key, w)
		if err != nil {
			return nil, err
		}
		n.cfg.Log.Info("waiting for a certificate", "request", name, "signer", w.signer)
		cert, err := answer(ctx, client, name)
		switch {
		case errors.Is(err, errGone):
			continue // most likely it was old: ask again
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		// Answered for good or ill: the key has served as the mark of this request.
		if rm := os.Remove(w.pending); err == nil && rm != nil {
			err = rm
		}
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("the certificate in certificate signing request %s is not the one asked for: %w", name, err)
		}
		return &pair, nil
	}
}

// pendingKey is the key of the request under way, or a new one.
func pendingKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil {
		if _, err = pki.ParseKey(key); err == nil {
			return key, nil
		}
	}
	if key, err = pki.NewKey(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of certificates: %w", err)
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return nil, fmt.Errorf("keep the key of a certificate request: %w", err)
	}
	return key, nil
}

// submit makes the request. Its name is a digest of what it says, so that one who asks
// again with the same key finds what he asked for before.
func submit(ctx context.Context, client kubernetes.Interface, key []byte, w wanted) (string, error) {
	request, err := pki.NewRequest(key, w.Request)
	if err != nil {
		return "", err
	}
	name, err := digestName(key, w)
	if err != nil {
		return "", err
	}
	_, err = client.CertificatesV1().CertificateSigningRequests().Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       certificatesv1.CertificateSigningRequestSpec{Request: request, SignerName: w.signer, Usages: w.usages},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("make a certificate signing request: %w", err)
	}
	return name, nil
}

func digestName(key []byte, w wanted) (string, error) {
	signer, err := pki.ParseKey(key)
	if err != nil {
		return "", err
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(fmt.Appendf(public, "%s %v %v %v %v", w.User, w.Groups, w.DNS, w.IPs, w.usages))
	prefix := "node-csr-"
	if w.signer == certificatesv1.KubeletServingSignerName {
		prefix = "csr-serving-"
	}
	return prefix + base64.RawURLEncoding.EncodeToString(digest[:]), nil
}

// answer waits until somebody has issued the certificate, or refused it.
func answer(ctx context.Context, client kubernetes.Interface, name string) ([]byte, error) {
	requests := client.CertificatesV1().CertificateSigningRequests()
	for retry := pace(0); ctx.Err() == nil; retry.wait(ctx) {
		request, err := requests.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil, errGone
		case refusal(err) != nil:
			return nil, refusal(err)
		case err != nil:
			continue // the API server is busy, or restarts
		}
		if cert, err := verdict(request); cert != nil || err != nil {
			return cert, err
		}
		watch, err := requests.Watch(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(), ResourceVersion: request.ResourceVersion,
		})
		if err != nil {
			continue
		}
		select {
		case <-watch.ResultChan(): // whatever it was: read what is there now
			retry = 0
		case <-ctx.Done():
		}
		watch.Stop()
	}
	return nil, ctx.Err()
}

// verdict is what a request says of itself: a certificate, a refusal, or nothing yet.
func verdict(r *certificatesv1.CertificateSigningRequest) ([]byte, error) {
	for _, c := range r.Status.Conditions {
		if c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed {
			why := strings.Trim(c.Reason+": "+c.Message, ": ")
			if why == "" {
				why = "no reason is given"
			}
			word := "was denied"
			if c.Type == certificatesv1.CertificateFailed {
				word = "failed"
			}
			return nil, fmt.Errorf("certificate signing request %s %s: %s", r.Name, word, why)
		}
	}
	if len(r.Status.Certificate) > 0 && api.CertificateRequestIs(r, certificatesv1.CertificateApproved) {
		return r.Status.Certificate, nil
	}
	return nil, nil
}
