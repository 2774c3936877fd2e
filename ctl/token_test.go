package main

import (
	"regexp"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func TestBootstrapToken(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	o := bootstrapToken("abcdef", "0123456789abcdef", time.Hour, now)
	if o.Name != "bootstrap-token-abcdef" || o.StringData["expiration"] != "2026-01-02T04:04:05Z" {
		t.Errorf("%s until %s", o.Name, o.StringData["expiration"])
	}
	if _, ends := bootstrapToken("abcdef", "0123456789abcdef", 0, now).StringData["expiration"]; ends {
		t.Error("a token that never expires does")
	}
}

func TestRandomText(t *testing.T) {
	token := randomText(6) + "." + randomText(16)
	if !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(token) || token[:6] == randomText(6) {
		t.Errorf("%s is no bootstrap token, or no random one", token)
	}
}

func TestJoinConfig(t *testing.T) {
	data, err := joinConfig(&rest.Config{Host: "https://192.0.2.1:6443", BearerToken: "mine", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("CA"), KeyData: []byte("mine")}}, "a.b")
	if err != nil {
		t.Fatal(err)
	}
	got, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "https://192.0.2.1:6443" || string(got.CAData) != "CA" || got.BearerToken != "a.b" || len(got.KeyData) > 0 {
		t.Errorf("got %+v", got)
	}
}
