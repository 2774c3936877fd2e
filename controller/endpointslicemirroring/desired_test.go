package endpointslicemirroring

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// subset reads "1.1.1.1 !1.1.1.2: http/80 dns/53".
func subset(text string) corev1.EndpointSubset {
	var s corev1.EndpointSubset
	addresses, ports, _ := strings.Cut(text, "; ")
	for a := range strings.FieldsSeq(addresses) {
		if ip, notReady := strings.CutPrefix(a, "!"); notReady {
			s.NotReadyAddresses = append(s.NotReadyAddresses, corev1.EndpointAddress{IP: ip})
		} else {
			s.Addresses = append(s.Addresses, corev1.EndpointAddress{IP: ip})
		}
	}
	for p := range strings.FieldsSeq(ports) {
		port := corev1.EndpointPort{Protocol: corev1.ProtocolTCP}
		name, number, _ := strings.Cut(p, "/")
		port.Name = name
		_, _ = fmt.Sscan(number, &port.Port)
		s.Ports = append(s.Ports, port)
	}
	return s
}

func endpoints(subsets ...string) *corev1.Endpoints {
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "1", Labels: map[string]string{"l": "1"},
		Annotations: map[string]string{"a": "1", corev1.EndpointsLastChangeTriggerTime: "x", corev1.LastAppliedConfigAnnotation: "y"}}}
	for _, s := range subsets {
		e.Subsets = append(e.Subsets, subset(s))
	}
	return e
}

// text writes a slice like a subset, with its family.
func text(s *discoveryv1.EndpointSlice) string {
	var words, ports []string
	for _, e := range s.Endpoints {
		mark := ""
		if !*e.Conditions.Ready {
			mark = "!"
		}
		words = append(words, mark+strings.Join(e.Addresses, "+"))
	}
	slices.Sort(words)
	for _, p := range s.Ports {
		ports = append(ports, fmt.Sprintf("%s/%d", *p.Name, *p.Port))
	}
	return string(s.AddressType) + " " + strings.Join(words, " ") + "; " + strings.Join(ports, " ")
}

func TestDesired(t *testing.T) {
	for _, c := range []struct {
		name    string
		subsets []string
		want    []string
		invalid int
	}{
		{"one", []string{"10.0.0.1 !10.0.0.2; http/80"}, []string{"IPv4 !10.0.0.2 10.0.0.1; http/80"}, 0},
		{"nothing", nil, nil, 0},
		{"two families", []string{"10.0.0.1 fd00::1; http/80"}, []string{"IPv4 10.0.0.1; http/80", "IPv6 fd00::1; http/80"}, 0},
		{"no ports", []string{"10.0.0.1"}, []string{"IPv4 10.0.0.1; "}, 0},
		{"two subsets", []string{"10.0.0.1; http/80", "10.0.0.2; http/81"}, []string{"IPv4 10.0.0.1; http/80", "IPv4 10.0.0.2; http/81"}, 0},
		{"the same addresses", []string{"10.0.0.1; http/80", "10.0.0.1; dns/53"}, []string{"IPv4 10.0.0.1; dns/53 http/80"}, 0},
		{"the same ports", []string{"10.0.0.1; http/80", "10.0.0.2; http/80"}, []string{"IPv4 10.0.0.1 10.0.0.2; http/80"}, 0},
		{"ready and not", []string{"10.0.0.1; http/80", "!10.0.0.1; http/80"}, []string{"IPv4 !10.0.0.1; http/80"}, 0},
		{"no address", []string{"10.0.0.1 nonsense; http/80"}, []string{"IPv4 10.0.0.1; http/80"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := desired(endpoints(c.subsets...), nil)
			var got []string
			for _, s := range p.create {
				got = append(got, text(s))
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) || p.invalid != c.invalid || p.skipped != c.invalid || len(p.update)+len(p.remove) > 0 {
				t.Errorf("got %q, %d invalid, want %q, %d", got, p.invalid, c.want, c.invalid)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	e := endpoints("!10.1.0.1; http/80")
	for i := range maxEndpoints + 4 {
		e.Subsets[0].Addresses = append(e.Subsets[0].Addresses, corev1.EndpointAddress{IP: fmt.Sprintf("10.0.%d.%d", i/250, i%250)})
	}
	p := desired(e, nil)
	if len(p.create) != 1 || len(p.create[0].Endpoints) != maxEndpoints || p.skipped != 5 || p.invalid != 0 {
		t.Errorf("%d slices, %d skipped", len(p.create), p.skipped)
	}
}

func TestMetadata(t *testing.T) {
	s := desired(endpoints("10.0.0.1; http/80"), nil).create[0]
	if s.Labels["l"] != "1" || s.Labels[discoveryv1.LabelServiceName] != "web" || s.Labels[discoveryv1.LabelManagedBy] != managedBy || len(s.Labels) != 3 {
		t.Errorf("labels %v", s.Labels)
	}
	if s.Annotations["a"] != "1" || len(s.Annotations) != 1 || s.GenerateName != "web-" || s.OwnerReferences[0].Kind != "Endpoints" {
		t.Errorf("metadata %+v", s.ObjectMeta)
	}
}

// TestSteps: what is stored already is not written again, and slices keep their names.
func TestSteps(t *testing.T) {
	have := desired(endpoints("10.0.0.1; http/80", "fd00::1; http/80"), nil).create
	for i, s := range have {
		s.Name, s.ResourceVersion = fmt.Sprint("web-", i), fmt.Sprint(i)
	}
	other := endpoints("10.0.0.1; http/80", "fd00::1; http/80")
	other.UID = "2"
	for _, c := range []struct {
		name   string
		e      *corev1.Endpoints
		update []string
		remove int
	}{
		{"nothing", endpoints("10.0.0.1; http/80", "fd00::1; http/80"), nil, 0},
		{"an address", endpoints("10.0.0.2; http/80", "fd00::1; http/80"), []string{"web-0 IPv4 10.0.0.2; http/80"}, 0},
		{"a port", endpoints("10.0.0.1; http/81", "fd00::1; http/80"), []string{"web-0 IPv4 10.0.0.1; http/81"}, 0},
		{"a family less", endpoints("10.0.0.1; http/80"), nil, 1},
		{"all gone", endpoints(), nil, 2},
		{"made anew", other, []string{"web-0 IPv4 10.0.0.1; http/80", "web-1 IPv6 fd00::1; http/80"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := desired(c.e, have)
			var got []string
			for _, s := range p.update {
				got = append(got, s.Name+" "+text(s))
			}
			if !slices.Equal(got, c.update) || len(p.remove) != c.remove || len(p.create) > 0 {
				t.Errorf("updates %q, removes %d, creates %d", got, len(p.remove), len(p.create))
			}
		})
	}
}
