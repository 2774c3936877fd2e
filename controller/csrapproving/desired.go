package csrapproving

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"orrery.example.org/api"
)

// right is what the requester must be allowed to create for a request to be approved:
// a subresource of certificatesigningrequests that exists in RBAC's rules only.
type right struct {
	subresource string
	message     string
}

var (
	selfNodeClient = right{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."}
	nodeClient     = right{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."}
)

// rights are the permissions of which any one suffices; none if the request is not
// for the client certificate of a node. A node may renew its own certificate; one that
// joins asks with a bootstrap token.
func rights(c *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) []right {
	if c.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || api.KubeletClientRequest(r, c.Spec.Usages) != nil {
		return nil
	}
	if c.Spec.Username == r.Subject.CommonName {
		return []right{selfNodeClient, nodeClient}
	}
	return []right{nodeClient}
}

// decided says whether there is nothing left to approve.
func decided(c *certificatesv1.CertificateSigningRequest) bool {
	return len(c.Status.Certificate) > 0 ||
		api.CertificateRequestIs(c, certificatesv1.CertificateApproved) || api.CertificateRequestIs(c, certificatesv1.CertificateDenied)
}

const nodeUserPrefix = "system:node:"

// servingNode names the node that asks for a serving certificate of its own; "" if the
// request is something else.
func servingNode(c *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) string {
	name, isNode := strings.CutPrefix(c.Spec.Username, nodeUserPrefix)
	if !isNode || c.Spec.SignerName != certificatesv1.KubeletServingSignerName || r.Subject.CommonName != c.Spec.Username ||
		!slices.Contains(c.Spec.Groups, "system:nodes") || api.KubeletServingRequest(r, c.Spec.Usages) != nil {
		return ""
	}
	return name
}

// foreignName is a name or address in the request that is not the node's; "" if there
// is none.
func foreignName(r *x509.CertificateRequest, node *corev1.Node) string {
	names, addresses := []string{node.Name}, []string{}
	for _, a := range node.Status.Addresses {
		switch a.Type {
		case corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalDNS:
			names = append(names, a.Address)
		case corev1.NodeInternalIP, corev1.NodeExternalIP:
			addresses = append(addresses, a.Address)
		}
	}
	for _, name := range r.DNSNames {
		if !slices.Contains(names, name) {
			return fmt.Sprintf("DNS name %q", name)
		}
	}
	for _, ip := range r.IPAddresses {
		if !slices.Contains(addresses, ip.String()) {
			return "address " + ip.String()
		}
	}
	return ""
}
