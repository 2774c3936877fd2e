package csrapproving

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	clientUsages  = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	servingUsages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
)

func request(user, signer string, usages []certificatesv1.KeyUsage, groups ...string) *certificatesv1.CertificateSigningRequest {
	return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		Username: user, Groups: groups, SignerName: signer, Usages: usages}}
}

func subject(name string, groups ...string) *x509.CertificateRequest {
	return &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: groups}}
}

func TestRights(t *testing.T) {
	const kubelet = certificatesv1.KubeAPIServerClientKubeletSignerName
	withIP := subject("system:node:n1", "system:nodes")
	withIP.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, c := range []struct {
		name    string
		request *certificatesv1.CertificateSigningRequest
		parsed  *x509.CertificateRequest
		want    []string
	}{
		{"joins", request("system:bootstrap:abcdef", kubelet, clientUsages), subject("system:node:n1", "system:nodes"), []string{"nodeclient"}},
		{"renews", request("system:node:n1", kubelet, clientUsages), subject("system:node:n1", "system:nodes"), []string{"selfnodeclient", "nodeclient"}},
		{"for another node", request("system:node:n2", kubelet, clientUsages), subject("system:node:n1", "system:nodes"), []string{"nodeclient"}},
		{"another signer", request("system:node:n1", certificatesv1.KubeAPIServerClientSignerName, clientUsages), subject("system:node:n1", "system:nodes"), nil},
		{"no node's group", request("system:node:n1", kubelet, clientUsages), subject("system:node:n1", "system:masters"), nil},
		{"one group more", request("system:node:n1", kubelet, clientUsages), subject("system:node:n1", "system:nodes", "system:masters"), nil},
		{"no node's name", request("jane", kubelet, clientUsages), subject("jane", "system:nodes"), nil},
		{"with an address", request("system:node:n1", kubelet, clientUsages), withIP, nil},
		{"for serving", request("system:node:n1", kubelet, servingUsages), subject("system:node:n1", "system:nodes"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, r := range rights(c.request, c.parsed) {
				got = append(got, r.subresource)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestServing(t *testing.T) {
	const serving = certificatesv1.KubeletServingSignerName
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "172.30.0.11"}, {Type: corev1.NodeInternalIP, Address: "fd00:10:30::11"},
		{Type: corev1.NodeHostName, Address: "host1"}}}}
	for _, c := range []struct {
		name    string
		request *certificatesv1.CertificateSigningRequest
		cn      string
		dns     []string
		ips     []string
		node    string
		foreign string
	}{
		{"its own", request("system:node:n1", serving, servingUsages, "system:nodes"), "system:node:n1", []string{"n1", "host1"}, []string{"172.30.0.11", "fd00:10:30::11"}, "n1", ""},
		{"another address", request("system:node:n1", serving, servingUsages, "system:nodes"), "system:node:n1", nil, []string{"172.30.0.11", "172.30.0.12"}, "n1", "address 172.30.0.12"},
		{"another name", request("system:node:n1", serving, servingUsages, "system:nodes"), "system:node:n1", []string{"kubernetes"}, nil, "n1", `DNS name "kubernetes"`},
		{"an address as a name", request("system:node:n1", serving, servingUsages, "system:nodes"), "system:node:n1", []string{"172.30.0.11"}, nil, "n1", `DNS name "172.30.0.11"`},
		{"of another node", request("system:node:n2", serving, servingUsages, "system:nodes"), "system:node:n1", []string{"n1"}, nil, "", ""},
		{"by a user", request("jane", serving, servingUsages, "system:nodes"), "jane", []string{"n1"}, nil, "", ""},
		{"without the group", request("system:node:n1", serving, servingUsages), "system:node:n1", []string{"n1"}, nil, "", ""},
		{"nothing to serve as", request("system:node:n1", serving, servingUsages, "system:nodes"), "system:node:n1", nil, nil, "", ""},
		{"for a client", request("system:node:n1", serving, clientUsages, "system:nodes"), "system:node:n1", []string{"n1"}, nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed := subject(c.cn, "system:nodes")
			parsed.DNSNames = c.dns
			for _, ip := range c.ips {
				parsed.IPAddresses = append(parsed.IPAddresses, net.ParseIP(ip))
			}
			if got := servingNode(c.request, parsed); got != c.node {
				t.Errorf("asks for the node %q, want %q", got, c.node)
			}
			if c.node == "" {
				return
			}
			if got := foreignName(parsed, node); got != c.foreign {
				t.Errorf("foreign: %q, want %q", got, c.foreign)
			}
		})
	}
}
