package identity

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"orrery.example.org/pki"
)

// joinTimeout is how long the API server may be silent while a node joins. It is
// kubeadm's, and long, since both may just be starting.
const joinTimeout = 5 * time.Minute

// pace is the time until the next try, which doubles up to 2 s.
type pace time.Duration

func (p *pace) wait(ctx context.Context) {
	*p = min(max(*p*2, pace(20*time.Millisecond)), pace(2*time.Second))
	select {
	case <-time.After(time.Duration(*p)):
	case <-ctx.Done():
	}
}

// greet waits until the API server answers, and says plainly what is wrong if its
// answer is no.
func greet(ctx context.Context, client kubernetes.Interface, server string, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	for retry, tries := pace(0), 0; ; retry.wait(ctx) {
		_, err := client.CertificatesV1().CertificateSigningRequests().List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil {
			return nil
		}
		if no := refusal(err); no != nil {
			return fmt.Errorf("the API server at %s: %w", server, no)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the API server at %s did not answer within %s: %w", server, joinTimeout, err)
		}
		if tries++; tries == 5 { // by then it is no coincidence
			log.Warn("cannot reach the API server, will go on trying", "server", server, "err", err)
		}
	}
}

// refusal is err in plain words if trying again is pointless, else nil.
func refusal(err error) error {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	switch {
	case err == nil:
		return nil
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("it does not know these credentials: the bootstrap token is unknown or has expired: %w", err)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return err
	case errors.As(err, &authority):
		return fmt.Errorf("its certificate is not signed by the CA that is to be trusted: %w", err)
	case errors.As(err, &hostname):
		return fmt.Errorf("its certificate is for another name: %w", err)
	}
	return nil
}

// checkCA compares the CA with the hashes that the administrator has given, as kubeadm
// join --discovery-token-ca-cert-hash does. None accepts any.
func checkCA(ca []byte, hashes []string) error {
	block, _ := pem.Decode(ca)
	if block == nil {
		return errors.New("it names no CA by which to know the API server (certificate-authority-data)")
	}
	if len(hashes) == 0 {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("read the CA: %w", err)
	}
	for _, h := range hashes {
		if digest, ok := strings.CutPrefix(h, "sha256:"); !ok || len(digest) != 64 || !isHex(digest) {
			return fmt.Errorf("invalid hash %q, expected \"sha256:\" and 64 hexadecimal digits", h)
		}
	}
	if got := pki.Hash(cert); !slices.Contains(hashes, got) {
		return fmt.Errorf("cluster CA found in it does not match any of the public keys %v pinned: its hash is %s", hashes, got)
	}
	return nil
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}
