package controller_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"orrery.example.org/controller"
	"orrery.example.org/pki"
)

// as is a client with another identity.
func (c *cluster) as(who pki.Request) kubernetes.Interface {
	c.t.Helper()
	pair, err := c.ca.Issue(who)
	must(c.t, err)
	return kubernetes.NewForConfigOrDie(pki.ClientConfig(c.admin.Host, c.ca, pair))
}

var (
	bootstrapper  = pki.Request{User: "system:bootstrap:abcdef", Groups: []string{"system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token"}}
	clientUsages  = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	servingUsages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
)

// ask makes a certificate request.
func (c *cluster) ask(client kubernetes.Interface, name, signer string, usages []certificatesv1.KeyUsage, r pki.Request) {
	c.t.Helper()
	key, err := pki.NewKey()
	must(c.t, err)
	request, err := pki.NewRequest(key, r)
	must(c.t, err)
	_, err = client.CertificatesV1().CertificateSigningRequests().Create(c.ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       certificatesv1.CertificateSigningRequestSpec{Request: request, SignerName: signer, Usages: usages, ExpirationSeconds: new(int32(3600))},
	}, metav1.CreateOptions{})
	must(c.t, err)
}

// issued waits for the certificate.
func (c *cluster) issued(name string) *x509.Certificate {
	c.t.Helper()
	var cert *x509.Certificate
	eventually(c.t, "certificate of "+name, func() error {
		r, err := c.CertificatesV1().CertificateSigningRequests().Get(c.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		block, _ := pem.Decode(r.Status.Certificate)
		if block == nil {
			return fmt.Errorf("%+v", r.Status.Conditions)
		}
		cert, err = x509.ParseCertificate(block.Bytes)
		return err
	})
	return cert
}

// TestNodeCertificates: what a node needs to join and to renew is approved and signed,
// and nothing else.
func TestNodeCertificates(t *testing.T) {
	c := serve(t, "Node", "RBAC") // whose rules say who is approved
	cfg := controller.Defaults()
	cfg.Client, cfg.Log, cfg.SigningCA = c.admin, c.log, c.ca
	c.manage(cfg)
	self := c.as(pki.Node("n1"))

	c.ask(c.as(bootstrapper), "joins", certificatesv1.KubeAPIServerClientKubeletSignerName, clientUsages, pki.Node("n1"))
	cert := c.issued("joins")
	if cert.Subject.CommonName != "system:node:n1" || cert.NotAfter.Sub(cert.NotBefore).Minutes() != 65 {
		t.Errorf("issued to %s until %s", cert.Subject, cert.NotAfter)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: c.ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	c.ask(self, "renews", certificatesv1.KubeAPIServerClientKubeletSignerName, clientUsages, pki.Node("n1"))
	c.issued("renews")

	// These wait for a person. The last one proves that they were looked at before it.
	_, err := c.RbacV1().ClusterRoleBindings().Create(c.ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "jane"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-bootstrapper"}, // may ask, no more
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "jane"}}}, metav1.CreateOptions{})
	must(t, err)
	jane := c.as(pki.Request{User: "jane"})
	eventually(t, "jane may ask", func() error {
		_, err := jane.CertificatesV1().CertificateSigningRequests().List(c.ctx, metav1.ListOptions{})
		return err
	})
	c.ask(jane, "of-a-user", certificatesv1.KubeAPIServerClientKubeletSignerName, clientUsages, pki.Node("n2"))
	c.ask(self, "any-client", certificatesv1.KubeAPIServerClientSignerName, clientUsages, pki.Request{User: "jane"})
	serving := pki.Node("n1")
	serving.DNS, serving.IPs = []string{"n1"}, []net.IP{net.IPv4(172, 30, 0, 11)}
	c.ask(self, "serves", certificatesv1.KubeletServingSignerName, servingUsages, serving)
	serving.IPs = []net.IP{net.IPv4(172, 30, 0, 2)}
	c.ask(self, "serves-as-another", certificatesv1.KubeletServingSignerName, servingUsages, serving)
	_, err = c.CoreV1().Nodes().Create(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.30.0.11"}}}}, metav1.CreateOptions{})
	must(t, err)
	if _, err := c.issued("serves").Verify(x509.VerifyOptions{Roots: c.ca.Pool(), DNSName: "172.30.0.11"}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"of-a-user", "any-client", "serves-as-another"} {
		r, err := c.CertificatesV1().CertificateSigningRequests().Get(c.ctx, name, metav1.GetOptions{})
		must(t, err)
		if len(r.Status.Conditions) > 0 {
			t.Errorf("%s: %+v", name, r.Status)
		}
	}

	// What a person approves is signed by the signer's rules.
	for name, reason := range map[string]string{"any-client": "", "serves-as-another": ""} {
		c.approve(name, reason)
		c.issued(name)
	}
	c.ask(self, "wrong", certificatesv1.KubeletServingSignerName, clientUsages, pki.Node("n1"))
	c.approve("wrong", "")
	eventually(t, "failure", func() error {
		r, err := c.CertificatesV1().CertificateSigningRequests().Get(c.ctx, "wrong", metav1.GetOptions{})
		if err == nil && !strings.Contains(fmt.Sprint(r.Status.Conditions), "SignerValidationFailure DNS or IP subjectAltName is required") {
			err = fmt.Errorf("%+v", r.Status)
		}
		return err
	})
}

func (c *cluster) approve(name, reason string) {
	c.t.Helper()
	eventually(c.t, "approve "+name, func() error {
		requests := c.CertificatesV1().CertificateSigningRequests()
		r, err := requests.Get(c.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: reason})
		_, err = requests.UpdateApproval(c.ctx, name, r, metav1.UpdateOptions{})
		return err
	})
}
