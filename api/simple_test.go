package api

import (
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestConfigMaps(t *testing.T) {
	base := func() *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metaOf("c"), Immutable: ptr(true), Data: map[string]string{"a": "1"}}
	}
	created(t, configMaps, base, []invalidCase[corev1.ConfigMap]{
		{"keys", func(c *corev1.ConfigMap) { c.Data["a/b"], c.BinaryData = "", map[string][]byte{"a": nil} }, []string{
			`data[a]: Invalid value: "a": duplicate of key present in binaryData`,
			`data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`}},
		{"size", func(c *corev1.ConfigMap) { c.Data["b"] = strings.Repeat("x", 1<<20) }, []string{
			`[]: Too long: may not be more than 1048576 bytes`}},
	})
	updated(t, configMaps, base, []invalidCase[corev1.ConfigMap]{
		{"labels", func(c *corev1.ConfigMap) { c.Labels = map[string]string{"a": "b"} }, nil},
		{"immutable", func(c *corev1.ConfigMap) { c.Immutable, c.Data["a"] = nil, "2" }, []string{
			"immutable: Forbidden: field is immutable when `immutable` is set",
			"data: Forbidden: field is immutable when `immutable` is set"}},
	})
}

func TestSecrets(t *testing.T) {
	base := func() *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metaOf("s"), Data: map[string][]byte{"a": []byte("1")}, StringData: map[string]string{"a": "2", "b": "3"}}
	}
	s := base()
	if secrets.SetDefaults(s); s.Type != corev1.SecretTypeOpaque || string(s.Data["a"]) != "2" || string(s.Data["b"]) != "3" || s.StringData != nil {
		t.Errorf("defaults: %+v", s)
	}
	of := func(kind corev1.SecretType) func(*corev1.Secret) { return func(s *corev1.Secret) { s.Type = kind } }
	created(t, secrets, base, []invalidCase[corev1.Secret]{
		{"tls", of(corev1.SecretTypeTLS), []string{`data[tls.crt]: Required value`, `data[tls.key]: Required value`}},
		{"ssh", of(corev1.SecretTypeSSHAuth), []string{`data[ssh-privatekey]: Required value`}},
		{"basic", of(corev1.SecretTypeBasicAuth), []string{`data[username]: Required value`, `data[password]: Required value`}},
		{"docker", func(s *corev1.Secret) {
			s.Type, s.Data[".dockerconfigjson"] = corev1.SecretTypeDockerConfigJson, []byte("x")
		}, []string{
			`data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid character 'x' looking for beginning of value`}},
		{"token", of(corev1.SecretTypeServiceAccountToken), []string{
			`metadata.annotations[kubernetes.io/service-account.name]: Required value`}},
	})
	updated(t, secrets, base, []invalidCase[corev1.Secret]{
		{"data", func(s *corev1.Secret) { s.Data["a"] = []byte("9") }, nil},
		{"type", of("other"), []string{`type: Invalid value: "other": field is immutable`}},
	})
}

func TestNodes(t *testing.T) {
	base := func() *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", UID: "1", ResourceVersion: "1"}, Spec: corev1.NodeSpec{
			PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24"}, ProviderID: "lab://node1",
		}}
	}
	n := base()
	n.Status.Capacity = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110")}
	if nodes.SetDefaults(n); n.Status.Allocatable.Pods().Value() != 110 {
		t.Errorf("allocatable %v", n.Status.Allocatable)
	}
	created(t, nodes, base, []invalidCase[corev1.Node]{
		{"in a namespace", func(n *corev1.Node) { n.Namespace = "default" }, []string{`metadata.namespace: Forbidden: not allowed on this type`}},
		{"cidrs", func(n *corev1.Node) {
			n.Spec.PodCIDR, n.Spec.PodCIDRs = "10.244.1.0", []string{"10.244.1.0", "10.244.2.0/24"}
		}, []string{
			`spec.podCIDRs[0]: Invalid value: "10.244.1.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`,
			`spec.podCIDRs: Invalid value: ["10.244.1.0","10.244.2.0/24"]: may specify no more than one CIDR for each IP family`}},
		{"taints", func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}, {Key: "a", Value: "b", Effect: corev1.TaintEffectNoSchedule}, {Key: "b", Effect: "Never"}}
		}, []string{
			`metadata.taints[1]: Duplicate value: {"Key":"a","Value":"b","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key and effect pair`,
			`metadata.taints[2].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`}},
	})
	updated(t, nodes, base, []invalidCase[corev1.Node]{
		{"cordon", func(n *corev1.Node) { n.Spec.Unschedulable = true }, nil},
		{"identity", func(n *corev1.Node) {
			n.Spec.PodCIDR, n.Spec.PodCIDRs, n.Spec.ProviderID = "10.244.2.0/24", []string{"10.244.2.0/24"}, ""
		}, []string{
			`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`,
			`spec.providerID: Forbidden: node updates may not change providerID except from "" to valid`}},
	})
	status := base()
	status.Status.Addresses = []corev1.NodeAddress{{Type: "InternalIP", Address: "172.30.0.11"}, {Type: "InternalIP", Address: "172.30.0.11"}}
	wantErrors(t, nodes.BeforeStatusUpdate(status, base()), `status.addresses[1]: Duplicate value: {"type":"InternalIP","address":"172.30.0.11"}`)
}

func TestLeases(t *testing.T) {
	created(t, leases, func() *coordinationv1.Lease { return &coordinationv1.Lease{ObjectMeta: metaOf("node1")} }, []invalidCase[coordinationv1.Lease]{
		{"numbers", func(l *coordinationv1.Lease) {
			l.Spec.LeaseDurationSeconds, l.Spec.LeaseTransitions = ptr[int32](0), ptr[int32](-1)
		}, []string{
			`spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0`,
			`spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0`}},
		{"preferred holder", func(l *coordinationv1.Lease) { l.Spec.PreferredHolder = ptr("a") }, []string{
			"spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"}},
	})
}

func TestEvents(t *testing.T) {
	old := func() *corev1.Event {
		return &corev1.Event{ObjectMeta: metaOf("e"), InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"}}
	}
	created(t, events, old, []invalidCase[corev1.Event]{
		{"about another namespace", func(e *corev1.Event) { e.InvolvedObject.Namespace = "shop" }, []string{
			`involvedObject.namespace: Invalid value: "shop": does not match event.namespace`}},
		{"about a node", func(e *corev1.Event) { e.InvolvedObject.Namespace, e.Namespace = "", "shop" }, []string{
			`involvedObject.namespace: Invalid value: "": does not match event.namespace`}},
		{"with a time and nothing else", func(e *corev1.Event) { e.EventTime = metav1.NewMicroTime(moment.Time) }, []string{
			`reportingController: Required value`, `reportingController: Invalid value: "": name part must be non-empty`,
			`reportingController: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`,
			`reportingInstance: Required value`, `action: Required value`, `reason: Required value`}},
		{"too long", func(e *corev1.Event) {
			long := strings.Repeat("x", 2000)
			e.EventTime, e.ReportingController, e.ReportingInstance = metav1.NewMicroTime(moment.Time), "scheduler", long
			e.Action, e.Reason, e.Message = "Bind", "Scheduled", long
		}, []string{
			`reportingInstance: Invalid value: "": can have at most 128 characters`,
			`message: Invalid value: "": can have at most 1024 characters`}},
	})
}

func TestSelectableFields(t *testing.T) {
	for _, c := range []struct {
		kind *Kind
		obj  Object
		want map[string]string
	}{
		{pods, &corev1.Pod{ObjectMeta: metaOf("p"), Spec: corev1.PodSpec{NodeName: "node1", RestartPolicy: "Always"},
			Status: corev1.PodStatus{Phase: "Running", PodIPs: []corev1.PodIP{{IP: "10.244.1.2"}}}},
			map[string]string{"metadata.name": "p", "metadata.namespace": "default", "spec.nodeName": "node1",
				"spec.restartPolicy": "Always", "status.phase": "Running", "status.podIP": "10.244.1.2", "spec.hostNetwork": "false"}},
		{services, &corev1.Service{Spec: corev1.ServiceSpec{Type: "ClusterIP", ClusterIP: "None"}},
			map[string]string{"spec.type": "ClusterIP", "spec.clusterIP": "None"}},
		{nodes, &corev1.Node{Spec: corev1.NodeSpec{Unschedulable: true}}, map[string]string{"spec.unschedulable": "true"}},
		{namespaces, &corev1.Namespace{Status: corev1.NamespaceStatus{Phase: "Active"}}, map[string]string{"status.phase": "Active"}},
		{secrets, &corev1.Secret{Type: "Opaque"}, map[string]string{"type": "Opaque"}},
		{replicaSets, aReplicaSet(), map[string]string{"status.replicas": "0"}},
		{events, &corev1.Event{InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: "7"}, Type: "Normal", ReportingController: "node"},
			map[string]string{"involvedObject.kind": "Pod", "involvedObject.uid": "7", "type": "Normal", "source": "node", "reportingComponent": "node"}},
	} {
		got := c.kind.SelectableFields(c.obj)
		for name, value := range c.want {
			if !got.Has(name) || got.Get(name) != value {
				t.Errorf("%s: %s is %q, want %q", c.kind.Resource, name, got.Get(name), value)
			}
		}
	}
	if nodes.SelectableFields(&corev1.Node{}).Has("metadata.namespace") {
		t.Error("a node has no namespace")
	}
}
