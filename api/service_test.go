package api

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// aService is what kubectl expose makes.
func aService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metaOf("web"),
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
}

func TestServiceDefaults(t *testing.T) {
	s := aService()
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	s.Spec.ClusterIP = "10.96.0.7"
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "1.2.3.4"}}
	services.PrepareForCreate(s)
	want := corev1.ServiceSpec{
		Type:     corev1.ServiceTypeClusterIP,
		Selector: map[string]string{"app": "web"},
		Ports:    []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(80)}},

		ClusterIP:  "10.96.0.7",
		ClusterIPs: []string{"10.96.0.7"},

		SessionAffinity:       corev1.ServiceAffinityClientIP,
		SessionAffinityConfig: &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr[int32](10800)}},
		InternalTrafficPolicy: ptr(corev1.ServiceInternalTrafficPolicyCluster),
	}
	if !reflect.DeepEqual(s.Spec, want) {
		t.Errorf("spec: %+v\nwant: %+v", s.Spec, want)
	}
	if len(s.Status.LoadBalancer.Ingress) > 0 || s.Generation != 0 {
		t.Error("a new Service has no status and, as upstream, no generation")
	}

	s = aService()
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	services.PrepareForCreate(s)
	if s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyCluster || !*s.Spec.AllocateLoadBalancerNodePorts {
		t.Errorf("load balancer: %+v", s.Spec)
	}
}

func TestInvalidServices(t *testing.T) {
	created(t, services, aService, []invalidCase[corev1.Service]{
		{"name", func(s *corev1.Service) { s.Name = "Web" }, []string{
			`metadata.name: Invalid value: "Web": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`}},
		{"a digit first is a name since v1.36", func(s *corev1.Service) { s.Name = "1web" }, nil},
		{"no name", func(s *corev1.Service) { s.Name = "" }, []string{`metadata.name: Required value: name or generateName is required`}},
		{"no namespace", func(s *corev1.Service) { s.Namespace = "" }, []string{`metadata.namespace: Required value`}},
		{"label", func(s *corev1.Service) { s.Labels = map[string]string{"a b": "c"} }, []string{
			`metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`}},
		{"no ports", func(s *corev1.Service) { s.Spec.Ports = nil }, []string{`spec.ports: Required value`}},
		{"headless without ports", func(s *corev1.Service) { s.Spec.Ports, s.Spec.ClusterIP = nil, "None" }, nil},
		{"port out of range", func(s *corev1.Service) { s.Spec.Ports[0].Port = 70000 }, []string{
			`spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive`}},
		{"port 0", func(s *corev1.Service) { s.Spec.Ports[0].Port = 0 }, []string{
			`spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive`}},
		{"protocol", func(s *corev1.Service) { s.Spec.Ports[0].Protocol = "ICMP" }, []string{
			`spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`}},
		{"target port", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(65536) }, []string{
			`spec.ports[0].targetPort: Invalid value: 65536: must be between 1 and 65535, inclusive`}},
		{"target port's name", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("a-name-too-long-for-a-port") }, []string{
			`spec.ports[0].targetPort: Invalid value: "a-name-too-long-for-a-port": must be no more than 15 characters`}},
		{"two ports without names", func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 81}) }, []string{
			`spec.ports[0].name: Required value`, `spec.ports[1].name: Required value`}},
		{"two ports of one name", func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 1}, {Name: "a", Port: 2}}
		}, []string{
			`spec.ports[1].name: Duplicate value: "a"`}},
		{"one port twice", func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 1}, {Name: "b", Port: 1}}
		}, []string{
			`spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":1,"TargetPort":0,"NodePort":0}`}},
		{"node port of a ClusterIP", func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 }, []string{
			"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"}},
		{"one node port twice", func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeNodePort
			s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 1, NodePort: 30080}, {Name: "b", Port: 2, NodePort: 30080}}
		}, []string{`spec.ports[1].nodePort: Duplicate value: 30080`}},
		{"selector", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "-"} }, []string{
			`spec.selector: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`}},
		{"type", func(s *corev1.Service) { s.Spec.Type = "Cluster" }, []string{
			`spec.type: Unsupported value: "Cluster": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`}},
		{"session affinity", func(s *corev1.Service) { s.Spec.SessionAffinity = "Cookie" }, []string{
			`spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"`}},
		{"affinity's timeout", func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr[int32](86401)}}
		}, []string{`spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400`}},
		{"clusterIP", func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0" }, []string{
			`spec.clusterIPs[0]: Invalid value: "10.96.0": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		{"clusterIPs do not agree", func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.8"} }, []string{
			"spec.clusterIPs: Invalid value: [\"10.96.0.8\"]: first value must match `clusterIP`"}},
		{"two of a family", func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.7", "10.96.0.8"}
		}, []string{
			`spec.clusterIPs: Invalid value: ["10.96.0.7","10.96.0.8"]: may specify no more than one IP for each IP family`}},
		{"family", func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.IPFamilies = "10.96.0.7", []corev1.IPFamily{corev1.IPv6Protocol}
		}, []string{
			"spec.clusterIPs[0]: Invalid value: \"10.96.0.7\": expected an IPv6 value as indicated by `ipFamilies[0]`"}},
		{"headless NodePort", func(s *corev1.Service) { s.Spec.Type, s.Spec.ClusterIP = corev1.ServiceTypeNodePort, "None" }, []string{
			`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services`}},
		{"ExternalName without a name", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }, []string{
			`spec.externalName: Required value`}},
		{"ExternalName with a clusterIP", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName, s.Spec.ClusterIP = corev1.ServiceTypeExternalName, "example.org.", "10.96.0.7"
		}, []string{`spec.clusterIPs: Forbidden: may not be set for ExternalName services`}},
		{"external IP", func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"127.0.0.1", "x"} }, []string{
			`spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
			`spec.externalIPs[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		{"source ranges", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.LoadBalancerSourceRanges = corev1.ServiceTypeLoadBalancer, []string{" 10.0.0.0/8", "10.0.0.0"}
		}, []string{`spec.LoadBalancerSourceRanges[1]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		{"source ranges of a ClusterIP", func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} }, []string{
			"spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"}},
		{"load balancer's fields", func(s *corev1.Service) {
			s.Spec.AllocateLoadBalancerNodePorts, s.Spec.LoadBalancerClass = ptr(true), ptr("example.org/lb")
		}, []string{
			"spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
			"spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"}},
		{"health checks without a port", func(s *corev1.Service) { // allocation comes before the check
			s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		}, []string{"spec.healthCheckNodePort: Invalid value: 0: must be between 1 and 65535, inclusive"}},
		{"traffic policies", func(s *corev1.Service) {
			s.Spec.ExternalTrafficPolicy, s.Spec.InternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal, ptr(corev1.ServiceInternalTrafficPolicy("Near"))
			s.Spec.TrafficDistribution, s.Spec.HealthCheckNodePort = ptr("Far"), 30000
		}, []string{
			`spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services`,
			"spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
			`spec.internalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"`,
			`spec.trafficDistribution: Unsupported value: "Far": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"`}},
	})
}

// anAllocated Service has what the API server gives a NodePort.
func anAllocated() *corev1.Service {
	s := aService()
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.7"}
	s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = []corev1.IPFamily{corev1.IPv4Protocol}, ptr(corev1.IPFamilyPolicySingleStack)
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, NodePort: 30080}, {Name: "https", Port: 443, NodePort: 30443}}
	services.PrepareForCreate(s)
	return s
}

func TestServiceUpdates(t *testing.T) {
	updated(t, services, anAllocated, []invalidCase[corev1.Service]{
		{"nothing", func(*corev1.Service) {}, nil},
		{"clusterIP", func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.8" }, []string{
			`spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set`}},
		{"to headless", func(s *corev1.Service) { s.Spec.Type, s.Spec.ClusterIP = corev1.ServiceTypeClusterIP, "None" }, []string{
			`spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set`}},
		{"family", func(s *corev1.Service) { s.Spec.IPFamilies[0] = corev1.IPv6Protocol }, []string{
			`spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set`,
			"spec.clusterIPs[0]: Invalid value: \"10.96.0.7\": expected an IPv6 value as indicated by `ipFamilies[0]`"}},
		{"to ClusterIP with a new node port", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 30081
		}, []string{
			"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
			"spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"}},
		{"uid", func(s *corev1.Service) { s.UID = "2" }, []string{`metadata.uid: Invalid value: "2": field is immutable`}},
		{"name", func(s *corev1.Service) { s.Name = "other" }, []string{`metadata.name: Invalid value: "other": field is immutable`}},
	})
}

func TestServiceKeepsWhatWasAllocated(t *testing.T) {
	old := anAllocated()
	s := aService() // the manifest applied again: no addresses, no node ports
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.Ports = []corev1.ServicePort{{Name: "https", Port: 8443}, {Name: "new", Port: 81}, {Name: "http", Port: 80, NodePort: 30443}}
	services.PrepareForUpdate(s, old)
	if s.Spec.ClusterIP != "10.96.0.7" || !reflect.DeepEqual(s.Spec.ClusterIPs, []string{"10.96.0.7"}) {
		t.Errorf("addresses: %q %q", s.Spec.ClusterIP, s.Spec.ClusterIPs)
	}
	got := []int32{s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort, s.Spec.Ports[2].NodePort}
	if want := []int32{0, 0, 30443}; !reflect.DeepEqual(got, want) {
		t.Errorf("node ports %v, want %v: https's was given to http", got, want)
	}
	s.Spec.Ports = []corev1.ServicePort{{Name: "https", Port: 8443}, {Name: "http", Port: 80}}
	services.PrepareForUpdate(s, old)
	if s.Spec.Ports[0].NodePort != 30443 || s.Spec.Ports[1].NodePort != 30080 {
		t.Errorf("node ports go with the name: %+v", s.Spec.Ports)
	}
}

func TestServiceTypeChanges(t *testing.T) {
	balanced := func() *corev1.Service {
		s := anAllocated()
		s.Spec.Type, s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, 31000
		s.Spec.LoadBalancerClass = ptr("example.org/lb")
		services.SetDefaults(s)
		return s
	}
	for _, to := range []corev1.ServiceType{corev1.ServiceTypeNodePort, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName} {
		t.Run(string(to), func(t *testing.T) {
			old := balanced()
			s := old.DeepCopy()
			s.Spec.Type, s.Spec.ExternalName = to, "example.org"
			wantErrors(t, services.BeforeUpdate(s, old))
			nodePorts := to == corev1.ServiceTypeNodePort
			if has := s.Spec.Ports[0].NodePort != 0; has != nodePorts {
				t.Errorf("node port kept: %v, want %v", has, nodePorts)
			}
			if has := s.Spec.ClusterIP != ""; has != (to != corev1.ServiceTypeExternalName) {
				t.Errorf("clusterIP kept: %v", has)
			}
			if s.Spec.HealthCheckNodePort != 0 || s.Spec.AllocateLoadBalancerNodePorts != nil || s.Spec.LoadBalancerClass != nil {
				t.Errorf("load balancer's fields stay: %+v", s.Spec)
			}
			if to == corev1.ServiceTypeExternalName && (s.Spec.IPFamilies != nil || s.Spec.IPFamilyPolicy != nil) {
				t.Error("IP families stay")
			}
		})
	}
}

func TestServiceNeeds(t *testing.T) {
	for _, c := range []struct {
		kind                      corev1.ServiceType
		policy                    corev1.ServiceExternalTrafficPolicy
		allocate                  *bool
		clusterIP, nodePort, hcnp bool
	}{
		{kind: corev1.ServiceTypeClusterIP, clusterIP: true},
		{kind: corev1.ServiceTypeNodePort, clusterIP: true, nodePort: true},
		{kind: corev1.ServiceTypeNodePort, policy: corev1.ServiceExternalTrafficPolicyLocal, clusterIP: true, nodePort: true},
		{kind: corev1.ServiceTypeLoadBalancer, clusterIP: true, nodePort: true},
		{kind: corev1.ServiceTypeLoadBalancer, allocate: ptr(false), clusterIP: true},
		{kind: corev1.ServiceTypeLoadBalancer, policy: corev1.ServiceExternalTrafficPolicyLocal, clusterIP: true, nodePort: true, hcnp: true},
		{kind: corev1.ServiceTypeExternalName},
	} {
		s := &corev1.Service{Spec: corev1.ServiceSpec{Type: c.kind, ExternalTrafficPolicy: c.policy, AllocateLoadBalancerNodePorts: c.allocate}}
		if ServiceNeedsClusterIP(s) != c.clusterIP || ServiceNeedsNodePort(s) != c.nodePort || ServiceNeedsHealthCheckNodePort(s) != c.hcnp {
			t.Errorf("%+v: %v %v %v", c, ServiceNeedsClusterIP(s), ServiceNeedsNodePort(s), ServiceNeedsHealthCheckNodePort(s))
		}
	}
}

func TestServiceStatus(t *testing.T) {
	old := anAllocated()
	s := old.DeepCopy()
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.30.100.1"}}
	wantErrors(t, services.BeforeStatusUpdate(s, old), "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'")
	old.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	wantErrors(t, services.BeforeStatusUpdate(s, old))
	if m := s.Status.LoadBalancer.Ingress[0].IPMode; m == nil || *m != corev1.LoadBalancerIPModeVIP {
		t.Errorf("ipMode %v, want VIP", m)
	}
}

func TestServiceWarnings(t *testing.T) {
	s := aService()
	services.SetDefaults(s)
	if w := services.Warnings(s, nil); len(w) > 0 {
		t.Errorf("warnings about an ordinary Service: %q", w)
	}
	s.Spec.ExternalIPs, s.Spec.ExternalName = []string{"172.30.0.9"}, "x"
	s.Spec.TrafficDistribution = ptr("PreferClose")
	want := []string{
		"spec.externalIPs is deprecated and may no longer be implemented in some clusters",
		`spec.externalName is ignored when spec.type is not "ExternalName"`,
		`spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`,
	}
	if w := services.Warnings(s, nil); !reflect.DeepEqual(w, want) {
		t.Errorf("warnings %q, want %q", w, want)
	}
}
