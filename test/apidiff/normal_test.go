package apidiff

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// normalizer replaces what two servers choose each for themselves: uids, times,
// resourceVersions, generated names, allocated addresses and ports. A value gets a name
// made of the object it was first seen in and how many such values that object had before,
// so that "the same as before", "another" and "an older one" still show.
type normalizer struct {
	said   string            // all that the requests say: what they name is kept
	names  map[string]string // value -> name
	count  map[string]int    // by what the values are of
	newest map[string]uint64 // resourceVersion of each object
}

func newNormalizer(g group) *normalizer {
	var said strings.Builder
	for _, r := range g.requests {
		said.WriteString(r.path + r.body + "\n")
	}
	return &normalizer{said: said.String(), names: map[string]string{}, count: map[string]int{}, newest: map[string]uint64{}}
}

// name gives a value a name.
func (n *normalizer) name(of, value string) string {
	key := of + "=" + value
	if name, ok := n.names[key]; ok {
		return name
	}
	n.count[of]++
	name := fmt.Sprintf("<%s %d>", of, n.count[of])
	n.names[key], n.names[value] = name, name
	return name
}

// body normalises a decoded body. What a dry run chooses is never seen again.
func (n *normalizer) body(v any, dryRun bool) any {
	if dryRun {
		once := newNormalizer(group{})
		once.said, once.newest = n.said, map[string]uint64{}
		for key, name := range n.names {
			once.names[key] = name
		}
		n = once
	}
	n.learn(v)
	return n.rewrite("", v)
}

// learn looks for objects and names what was chosen for them.
func (n *normalizer) learn(v any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n.learn(item)
		}
	case map[string]any:
		if meta, ok := v["metadata"].(map[string]any); ok {
			n.learnObject(v, meta)
		}
		for _, key := range keys(v, nil) {
			n.learn(v[key])
		}
	}
}

func (n *normalizer) learnObject(object, meta map[string]any) {
	name, _ := meta["name"].(string)
	if prefix, ok := meta["generateName"].(string); ok && strings.HasPrefix(name, prefix) && len(name) == len(prefix)+5 {
		n.name("generated "+prefix, name)
		name = prefix
	}
	if uid, ok := meta["uid"].(string); ok && !strings.Contains(n.said, uid) {
		n.name("uid of "+name, uid)
	}
	if rv, ok := meta["resourceVersion"].(string); ok && rv != "" {
		meta["resourceVersion"] = n.version(name, rv)
	}
	if token, ok := meta["continue"].(string); ok && token != "" {
		meta["continue"] = "<continue>"
	}
	if spec, ok := object["spec"].(map[string]any); ok && spec["clusterIP"] != nil {
		n.learnService(name, spec)
	}
}

// version names an object's version; a list's tells nothing.
func (n *normalizer) version(name, rv string) string {
	number, err := strconv.ParseUint(rv, 10, 64)
	if name == "" || err != nil {
		return "<version>"
	}
	if n.newest[name] > number && n.names["version of "+name+"="+rv] == "" {
		return n.name("version of "+name, rv) + " (older)"
	}
	n.newest[name] = max(n.newest[name], number)
	return n.name("version of "+name, rv)
}

func (n *normalizer) learnService(name string, spec map[string]any) {
	ips, _ := spec["clusterIPs"].([]any)
	for _, ip := range ips {
		if ip, ok := ip.(string); ok && ip != "None" && !strings.Contains(n.said, ip) {
			n.name("address of "+name, ip)
		}
	}
	n.learnPort(name, spec, "healthCheckNodePort")
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		if p, ok := p.(map[string]any); ok {
			n.learnPort(name, p, "nodePort")
		}
	}
}

func (n *normalizer) learnPort(name string, object map[string]any, key string) {
	if port, ok := object[key].(json.Number); ok && !strings.Contains(n.said, port.String()) {
		object[key] = n.name("port of "+name, port.String())
	}
}

var (
	uuid       = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	timestamp  = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	address    = regexp.MustCompile(`\b(\d+\.\d+\.\d+\.\d+|fd00:[0-9a-f:]+)\b`)
	generated  = regexp.MustCompile(`\b[\w.-]+-[bcdfghjklmnpqrstvwxz2456789]{5}\b`)
	jwt        = regexp.MustCompile(`\beyJ[\w-]+\.[\w-]+\.[\w-]+`)
	credential = regexp.MustCompile(`\b(JTI=|X509SHA256=)[0-9a-f-]+`)
	token      = regexp.MustCompile(`\bkube-api-access-[a-z0-9]{5}\b`)
	age        = regexp.MustCompile(`^\d+m?s$`)
	long       = regexp.MustCompile(`x{40,}`)
	versions   = regexp.MustCompile(`"resourceVersion\\?":\\?"\d+`)
	nodePort   = regexp.MustCompile(`:(3[0-2]\d\d\d)/`)
	self       = regexp.MustCompile(`\b172\.30\.0\.2:\d+`)
	current    = regexp.MustCompile(`(current: |in record \()\d+`)
)

// rewrite replaces what has a name, wherever it is.
func (n *normalizer) rewrite(key string, v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = n.rewrite(key, v[i])
		}
	case map[string]any:
		for _, k := range keys(v, nil) {
			value := n.rewrite(k, v[k])
			delete(v, k)
			v[n.text(k)] = value // managedFields name list items by their values
		}
	case string:
		if key == "cells" && age.MatchString(v) {
			return "<age>"
		}
		return n.text(v)
	}
	return v
}

func (n *normalizer) text(s string) string {
	s = jwt.ReplaceAllString(s, "<token>")
	s = credential.ReplaceAllString(s, "$1<one>")
	s = uuid.ReplaceAllStringFunc(s, n.named)
	s = generated.ReplaceAllStringFunc(s, n.named)
	s = token.ReplaceAllString(s, "kube-api-access-<5>")
	s = long.ReplaceAllString(s, "<many x>")
	s = versions.ReplaceAllString(s, `"resourceVersion":"<version>`)
	s = self.ReplaceAllString(s, advertised+":<port>")
	s = nodePort.ReplaceAllStringFunc(s, func(s string) string { return ":" + n.named(s[1:6]) + "/" })
	s = current.ReplaceAllString(s, "$1<version>")
	s = address.ReplaceAllStringFunc(s, func(ip string) string {
		if _, err := netip.ParseAddr(ip); err != nil {
			return ip
		}
		return n.named(ip)
	})
	return timestamp.ReplaceAllStringFunc(s, func(s string) string {
		when, err := time.Parse(time.RFC3339Nano, s)
		if since := time.Since(when); err != nil || since > time.Hour || since < -2*time.Hour { // tokens end after an hour
			return s
		}
		if strings.Contains(s, ".") {
			return "<time with fractions>"
		}
		return "<time>"
	})
}

// named is the name of a value, if it has one.
func (n *normalizer) named(value string) string {
	if name, ok := n.names[value]; ok {
		return name
	}
	return value
}
