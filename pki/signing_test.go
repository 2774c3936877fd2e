package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSigningKeySurvivesRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	first, err := LoadOrCreateSigningKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateSigningKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !first.(*ecdsa.PrivateKey).Equal(again) {
		t.Error("a second key was made")
	}
	info, err := os.Stat(filepath.Join(dir, "sa.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("sa.key: %v %v", info, err)
	}
	public, err := os.ReadFile(filepath.Join(dir, "sa.pub"))
	if err != nil || !bytes.HasPrefix(public, []byte("-----BEGIN PUBLIC KEY-----")) {
		t.Errorf("sa.pub: %s %v", public, err)
	}
}

// TestSigningKeyOfKubeadm: kubeadm writes PKCS #1.
func TestSigningKeyOfKubeadm(t *testing.T) {
	dir := t.TempDir()
	theirs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sa.key"), encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(theirs)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadOrCreateSigningKey(dir); err != nil || !theirs.Equal(got) {
		t.Errorf("got %v %v", got, err)
	}
}

func TestDamagedSigningKeyIsKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sa.key")
	if err := os.WriteFile(path, []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateSigningKey(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "-----BEGIN" {
		t.Error("it was replaced; tokens signed with it would be lost")
	}
}
