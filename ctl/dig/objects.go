package dig

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Objects are those that the cluster's names come from. A nil one knows of none.
type Objects struct {
	Namespaces []corev1.Namespace
	Services   []corev1.Service
	Slices     []discoveryv1.EndpointSlice
	Pods       []corev1.Pod
}

// records turns a section of a reply into what is shown.
func (o *Objects) records(section []dns.RR, r Resolver) (all []Record) {
	for _, rr := range section {
		h := rr.Header()
		if h.Rrtype == dns.TypeOPT {
			continue
		}
		all = append(all, Record{
			Name: h.Name, TTL: h.Ttl, Type: dns.TypeToString[h.Rrtype],
			Data:    strings.TrimPrefix(rr.String(), h.String()),
			Objects: o.behind(rr, r),
		})
	}
	return all
}

// behind finds the objects that a record was made of.
func (o *Objects) behind(rr dns.RR, r Resolver) []string {
	domain := r.Domain()
	switch rr := rr.(type) {
	case *dns.A:
		return o.named(rr.Hdr.Name, domain, rr.A.String())
	case *dns.AAAA:
		return o.named(rr.Hdr.Name, domain, rr.AAAA.String())
	case *dns.SRV:
		return o.named(rr.Target, domain, "")
	case *dns.PTR:
		return o.named(rr.Ptr, domain, "")
	case *dns.NS:
		return o.named(rr.Ns, domain, "")
	case *dns.CNAME:
		if found := o.named(rr.Hdr.Name, domain, ""); found != nil {
			return found
		}
		if parse(rr.Hdr.Name, domain).kind != "" {
			return []string{"the search list, followed by the server"}
		}
	}
	return nil
}

// name is one of the cluster's, taken apart.
type name struct{ kind, namespace, object, rest string }

// parse takes a name apart; its kind is empty where it is not of the form of the cluster's.
func parse(full, domain string) (n name) {
	relative, ok := strings.CutSuffix(strings.ToLower(full), "."+dns.Fqdn(strings.ToLower(domain)))
	if !ok {
		return n
	}
	labels := strings.Split(relative, ".")
	slices.Reverse(labels)
	for i, label := range labels {
		switch i {
		case 0:
			n.kind = label
		case 1:
			n.namespace = label
		case 2:
			n.object = label
		default:
			n.rest = strings.TrimSuffix(label+"."+n.rest, ".")
		}
	}
	return n
}

// named finds the objects behind a name, as far as they have the address, if there is one.
func (o *Objects) named(full, domain, address string) (found []string) {
	n := parse(full, domain)
	if o == nil || n.object == "" {
		return nil
	}
	if n.kind == "pod" {
		return o.podsWith(n.namespace, address)
	}
	svc := o.service(n)
	if n.kind != "svc" || svc == nil {
		return nil
	}
	found = []string{"Service " + n.namespace + "/" + n.object}
	if svc.Spec.Type == corev1.ServiceTypeExternalName || n.rest == "" && svc.Spec.ClusterIP != corev1.ClusterIPNone {
		return found
	}
	for i := range o.Slices {
		es := &o.Slices[i]
		if es.Namespace != n.namespace || es.Labels[discoveryv1.LabelServiceName] != n.object {
			continue
		}
		for j := range es.Endpoints {
			if ep := &es.Endpoints[j]; isNamed(ep, n.rest, address) {
				found = append(found, "EndpointSlice "+es.Name)
				if ref := ep.TargetRef; ref != nil {
					found = append(found, ref.Kind+" "+ref.Name)
				}
			}
		}
	}
	if len(found) > 3 && address == "" {
		return found[:1] // of all endpoints: the Service says it
	}
	return found
}

// isNamed reports whether an endpoint has a label and an address, as far as they are given.
func isNamed(ep *discoveryv1.Endpoint, label, address string) bool {
	hostname := ""
	if ep.Hostname != nil {
		hostname = *ep.Hostname
	}
	for _, ip := range ep.Addresses {
		dashed := strings.NewReplacer(".", "-", ":", "-").Replace(ip)
		if (address == "" || same(ip, address)) && (label == "" || strings.EqualFold(label, hostname) || label == dashed) {
			return true
		}
	}
	return false
}

func same(a, b string) bool {
	x, err := netip.ParseAddr(a)
	y, err2 := netip.ParseAddr(b)
	return err == nil && err2 == nil && x.Unmap() == y.Unmap()
}

func (o *Objects) service(n name) *corev1.Service {
	for i := range o.Services {
		if s := &o.Services[i]; s.Namespace == n.namespace && s.Name == n.object {
			return s
		}
	}
	return nil
}

func (o *Objects) podsWith(namespace, address string) (found []string) {
	for _, pod := range o.Pods {
		for _, ip := range pod.Status.PodIPs {
			if pod.Namespace == namespace && same(ip.IP, address) {
				found = append(found, "Pod "+namespace+"/"+pod.Name)
			}
		}
	}
	return found
}

// why says what a name of the cluster lacks, "" where that is not known.
func (o *Objects) why(full, domain string) string {
	n := parse(full, domain)
	if o == nil || n.kind == "" {
		return ""
	}
	isIt := func(ns corev1.Namespace) bool { return ns.Name == n.namespace }
	svc := o.service(n)
	switch {
	case n.kind != "svc" && n.kind != "pod":
		return fmt.Sprintf("names of the cluster end in svc.%s or pod.%[1]s", domain)
	case n.namespace != "" && !slices.ContainsFunc(o.Namespaces, isIt):
		return fmt.Sprintf("there is no Namespace %s", n.namespace)
	case n.kind == "pod" || n.object == "":
		return ""
	case svc == nil:
		return fmt.Sprintf("there is no Service %s in Namespace %s", n.object, n.namespace)
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return fmt.Sprintf("Service %s is of type ExternalName", n.object)
	case strings.HasPrefix(n.rest, "_"):
		return fmt.Sprintf("Service %s has no such port", n.object)
	case n.rest != "":
		return fmt.Sprintf("Service %s has no ready endpoint of that name", n.object)
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		return fmt.Sprintf("Service %s is headless, and none of its endpoints is ready", n.object)
	}
	return fmt.Sprintf("Service %s has no such record", n.object)
}
