package api

import (
	"math"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// aPod is what kubectl run makes.
func aPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metaOf("client"),
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "client", Image: "busybox"}}},
	}
}

func TestPodDefaults(t *testing.T) {
	p := aPod()
	c := &p.Spec.Containers[0]
	c.Ports = []corev1.ContainerPort{{ContainerPort: 80}}
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(80)}}}
	c.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	p.Spec.Volumes = []corev1.Volume{{Name: "empty"}, {Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}}}
	p.Status.Phase = corev1.PodRunning
	pods.PrepareForCreate(p)
	want := corev1.PodSpec{
		Volumes: []corev1.Volume{
			{Name: "empty", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{DefaultMode: ptr[int32](0o644)}}},
		},
		Containers: []corev1.Container{{
			Name: "client", Image: "busybox",
			ImagePullPolicy:          corev1.PullAlways,
			TerminationMessagePath:   "/dev/termination-log",
			TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			Ports:                    []corev1.ContainerPort{{ContainerPort: 80, Protocol: corev1.ProtocolTCP}},
			ReadinessProbe: &corev1.Probe{
				ProbeHandler:   corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(80), Scheme: corev1.URISchemeHTTP}},
				TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
			},
			Resources: corev1.ResourceRequirements{
				Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
			},
		}},
		RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, SchedulerName: "default-scheduler",
		TerminationGracePeriodSeconds: ptr[int64](30),
		SecurityContext:               &corev1.PodSecurityContext{},
		EnableServiceLinks:            ptr(true),
	}
	if !reflect.DeepEqual(p.Spec, want) {
		t.Errorf("spec: %+v\nwant: %+v", p.Spec, want)
	}
	if s := (corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBurstable}); !reflect.DeepEqual(p.Status, s) {
		t.Errorf("status: %+v, want %+v", p.Status, s)
	}
	if p.Generation != 1 {
		t.Errorf("generation %d, want 1", p.Generation)
	}
}

func TestPullPolicy(t *testing.T) {
	const digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for image, want := range map[string]corev1.PullPolicy{
		"nginx":                           corev1.PullAlways,
		"nginx:latest":                    corev1.PullAlways,
		"nginx:latest" + digest:           corev1.PullAlways,
		"nginx:1.27":                      corev1.PullIfNotPresent,
		"nginx" + digest:                  corev1.PullIfNotPresent,
		"registry.example:5000/nginx":     corev1.PullAlways,
		"registry.example:5000/nginx:1.0": corev1.PullIfNotPresent,
	} {
		if got := pullPolicy(image); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

func TestQOSClass(t *testing.T) {
	list := func(s string) corev1.ResourceList {
		l := corev1.ResourceList{}
		for _, f := range strings.Fields(s) {
			name, value, _ := strings.Cut(f, "=")
			l[corev1.ResourceName(name)] = resource.MustParse(value)
		}
		return l
	}
	for _, c := range []struct {
		requests, limits string
		want             corev1.PodQOSClass
	}{
		{"", "", corev1.PodQOSBestEffort},
		{"cpu=0", "", corev1.PodQOSBestEffort},
		{"cpu=1", "", corev1.PodQOSBurstable},
		{"cpu=1 memory=1Gi", "cpu=1 memory=1Gi", corev1.PodQOSGuaranteed},
		{"", "cpu=1 memory=1Gi", corev1.PodQOSGuaranteed}, // limits are requests
		{"cpu=1", "cpu=2 memory=1Gi", corev1.PodQOSBurstable},
		{"", "cpu=1", corev1.PodQOSBurstable},
	} {
		p := aPod()
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list(c.requests), Limits: list(c.limits)}
		if pods.PrepareForCreate(p); p.Status.QOSClass != c.want {
			t.Errorf("%q of %q: %s, want %s", c.requests, c.limits, p.Status.QOSClass, c.want)
		}
	}
}

func TestInvalidPods(t *testing.T) {
	container := func(f func(*corev1.Container)) func(*corev1.Pod) {
		return func(p *corev1.Pod) { f(&p.Spec.Containers[0]) }
	}
	created(t, pods, aPod, []invalidCase[corev1.Pod]{
		{"no containers", func(p *corev1.Pod) { p.Spec.Containers = nil }, []string{`spec.containers: Required value`}},
		{"no name, no image", container(func(c *corev1.Container) { c.Name, c.Image = "", "" }), []string{
			`spec.containers[0].name: Required value`, `spec.containers[0].image: Required value`}},
		{"image with a space", container(func(c *corev1.Container) { c.Image = " nginx" }), []string{
			`spec.containers[0].image: Invalid value: " nginx": must not have leading or trailing whitespace`}},
		{"a name twice", func(p *corev1.Pod) { p.Spec.InitContainers = p.Spec.Containers }, []string{
			`spec.initContainers[0].name: Duplicate value: "client"`}},
		{"pull policy", container(func(c *corev1.Container) { c.ImagePullPolicy = "Sometimes" }), []string{
			`spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`}},
		{"ports", container(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 80}, {Name: "http", ContainerPort: 70000}, {Name: "UPPER"}}
		}), []string{
			`spec.containers[0].ports[1].name: Duplicate value: "http"`,
			`spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive`,
			`spec.containers[0].ports[2].name: Invalid value: "UPPER": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)`,
			`spec.containers[0].ports[2].name: Invalid value: "UPPER": must contain at least one letter (a-z)`,
			`spec.containers[0].ports[2].containerPort: Required value`}},
		{"host ports", container(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 1, HostPort: 9}, {ContainerPort: 2, HostPort: 9}}
		}), []string{`spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//9"`}},
		{"env", container(func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{
				{Name: ""}, {Name: "A=B"}, {Name: "C", ValueFrom: &corev1.EnvVarSource{}},
				{Name: "D", Value: "x", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.wrong"}}},
				{Name: "E", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}},
				{Name: "F", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
			}
		}), []string{
			`spec.containers[0].env[0].name: Required value`,
			`spec.containers[0].env[1].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='`,
			"spec.containers[0].env[2].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
			"spec.containers[0].env[3].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
			`spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Invalid value: "spec.wrong": error converting fieldPath: field label not supported: spec.wrong`,
			`spec.containers[0].env[4].valueFrom.secretKeyRef.name: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
			`spec.containers[0].env[4].valueFrom.secretKeyRef.key: Required value`}},
		{"envFrom", container(func(c *corev1.Container) { c.EnvFrom = []corev1.EnvFromSource{{}} }), []string{
			"spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"}},
		{"mounts", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v"}, {Name: "v"}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "w", MountPath: "/a"}, {Name: "v", MountPath: "/a", SubPath: "../x"}}
		}, []string{
			`spec.volumes[1].name: Duplicate value: "v"`,
			`spec.containers[0].volumeMounts[0].name: Not found: "w"`,
			`spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique`,
			`spec.containers[0].volumeMounts.subPath: Invalid value: "../x": must not contain '..'`}},
		{"volumes", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{
				{Name: "a", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}, EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "b", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{DefaultMode: ptr[int32](0o1000)}}},
			}
		}, []string{
			`spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type`,
			`spec.volumes[1].configMap.name: Required value`,
			`spec.volumes[1].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive`}},
		{"resources", container(func(c *corev1.Container) {
			c.Resources = corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse("2"), "disk": resource.MustParse("1")},
				Limits:   corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("-1")},
			}
		}), []string{
			`spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0`,
			`spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0`,
			`spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`,
			`spec.containers[0].resources.requests[disk]: Invalid value: "disk": must be a standard resource for containers`,
			`spec.containers[0].resources.requests[disk]: Invalid value: "disk": must be a standard resource type or fully qualified`}},
		{"probes", container(func(c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{SuccessThreshold: 2}
			c.ReadinessProbe = &corev1.Probe{PeriodSeconds: -1, ProbeHandler: corev1.ProbeHandler{
				Exec: &corev1.ExecAction{}, TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}}}
		}), []string{
			`spec.containers[0].livenessProbe: Required value: must specify a handler type`,
			`spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1`,
			`spec.containers[0].readinessProbe.exec.command: Required value`,
			`spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type`,
			`spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0`}},
		{"init container with a probe", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "x", StartupProbe: &corev1.Probe{}}}
		}, []string{`spec.initContainers[0].startupProbe: Forbidden: may not be set for init containers without restartPolicy=Always`}},
		{"policies", func(p *corev1.Pod) { p.Spec.RestartPolicy, p.Spec.DNSPolicy = "Maybe", "Cluster" }, []string{
			`spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"`,
			`spec.dnsPolicy: Unsupported value: "Cluster": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"`}},
		{"dns", func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSNone }, []string{
			"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},
		{"deadline", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr[int64](0) }, []string{
			`spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive`}},
		{"tolerations", func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "a", Effect: "NoExecute", Operator: "Exists", Value: "x"}, {Effect: corev1.TaintEffectNoSchedule, TolerationSeconds: ptr[int64](1)}}
		}, []string{
			"spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
			"spec.tolerations[1].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
			"spec.tolerations[1].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"}},
		{"host network", func(p *corev1.Pod) {
			p.Spec.HostNetwork, p.Spec.Containers[0].Ports = true, []corev1.ContainerPort{{ContainerPort: 80, HostPort: 81}}
		}, []string{"spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"}},
		{"gates", func(p *corev1.Pod) {
			p.Spec.NodeName, p.Spec.SchedulingGates = "node1", []corev1.PodSchedulingGate{{Name: "g"}}
		}, []string{
			`spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared`}},
	})
}

func TestPodUpdates(t *testing.T) {
	tolerant := func() *corev1.Pod {
		p := aPod()
		p.Spec.Tolerations = []corev1.Toleration{{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists,
			Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr[int64](300)}}
		return p
	}
	updated(t, pods, tolerant, []invalidCase[corev1.Pod]{
		{"image", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "alpine" }, nil},
		{"labels", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "web"} }, nil},
		{"a deadline", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr[int64](5) }, nil},
		{"a toleration more", func(p *corev1.Pod) {
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists})
			p.Spec.Tolerations[0].TolerationSeconds = ptr[int64](1)
		}, nil},
		{"a toleration less", func(p *corev1.Pod) { p.Spec.Tolerations = p.Spec.Tolerations[1:] }, []string{
			`spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds`}},
		{"a container more", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "b", Image: "b"})
		}, []string{
			`spec.containers: Forbidden: pod updates may not add or remove containers`}},
	})

	old := aPod()
	pods.PrepareForCreate(old)
	p := old.DeepCopy()
	p.Spec.Containers[0].Command, p.Spec.NodeName = []string{"sh"}, "node2"
	errs := pods.BeforeUpdate(p, old)
	const want = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
		"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
		"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
	if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), want) || !strings.Contains(errs[0].Error(), "node2") {
		t.Errorf("%v", errs)
	}
	if p.Generation != 2 {
		t.Errorf("generation %d, want 2", p.Generation)
	}
}

func TestPodStatusUpdates(t *testing.T) {
	old := aPod()
	old.Spec.RestartPolicy = corev1.RestartPolicyNever
	pods.PrepareForCreate(old)
	old.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", APIVersion: "apps/v1", Name: "web", UID: "7"}}
	old.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "client", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}

	p := old.DeepCopy()
	p.OwnerReferences, p.Spec.NodeName = nil, "elsewhere"
	p.Status = corev1.PodStatus{PodIP: "10.244.1.2", HostIP: "172.30.0.11"} // as an agent writes it
	wantErrors(t, pods.BeforeStatusUpdate(p, old))
	if p.Spec.NodeName != "" || len(p.OwnerReferences) != 1 || p.Status.QOSClass != old.Status.QOSClass {
		t.Errorf("what is not status changed: %+v", p)
	}
	if !reflect.DeepEqual(p.Status.PodIPs, []corev1.PodIP{{IP: "10.244.1.2"}}) || !reflect.DeepEqual(p.Status.HostIPs, []corev1.HostIP{{IP: "172.30.0.11"}}) {
		t.Errorf("lists of addresses: %+v", p.Status)
	}

	p = old.DeepCopy()
	p.Status.QOSClass = corev1.PodQOSGuaranteed
	p.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.244.1.2"}, {IP: "10.244.1.3"}}
	wantErrors(t, pods.BeforeStatusUpdate(p, old),
		`status.qosClass: Invalid value: "Guaranteed": field is immutable`,
		`status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state`,
		`status.podIPs: Invalid value: [{"IP":"10.244.1.2"},{"IP":"10.244.1.3"}]: may specify no more than one IP for each IP family`)
}

func TestPodGracePeriod(t *testing.T) {
	for _, c := range []struct {
		name  string
		node  string
		phase corev1.PodPhase
		spec  *int64
		asked *int64
		want  int64
	}{
		{name: "the Pod's own", node: "n", spec: ptr[int64](30), want: 30},
		{name: "the client's", node: "n", spec: ptr[int64](30), asked: ptr[int64](5), want: 5},
		{name: "forced", node: "n", spec: ptr[int64](30), asked: ptr[int64](0), want: 0},
		{name: "negative", node: "n", spec: ptr[int64](-9), want: 1},
		{name: "longest", node: "n", asked: ptr[int64](math.MaxInt32), want: math.MaxInt32},
		{name: "not scheduled", spec: ptr[int64](30), want: 0},
		{name: "succeeded", node: "n", phase: corev1.PodSucceeded, spec: ptr[int64](30), want: 0},
		{name: "failed", node: "n", phase: corev1.PodFailed, asked: ptr[int64](30), want: 0},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: c.node, TerminationGracePeriodSeconds: c.spec}, Status: corev1.PodStatus{Phase: c.phase}}
		if got := pods.GracePeriod(p, c.asked); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestPodWarnings(t *testing.T) {
	p := aPod()
	c := &p.Spec.Containers[0]
	c.Env = []corev1.EnvVar{{Name: "PATH", Value: "/bin"}, {Name: "PATH", Value: "$(PATH):/sbin"}, {Name: "PATH", Value: "/x"}}
	c.Ports = []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 80}}
	c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("100m")}
	p.Spec.TerminationGracePeriodSeconds = ptr[int64](-1)
	pods.SetDefaults(p)
	want := []string{
		`spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer`,
		`spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer`,
		`spec.containers[0].env[2]: hides previous definition of "PATH", which may be dropped when using apply`,
		`spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]`,
		`spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`,
	}
	if got := pods.Warnings(p, nil); !reflect.DeepEqual(got, want) {
		t.Errorf("warnings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestNameWarnings: who names a Pod, or what makes Pods, with dots is told so once.
func TestNameWarnings(t *testing.T) {
	const rest = ", which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
	for kind, use := range map[*Kind]string{
		pods: "the Pod's hostname", deployments: "Pod names and hostnames", replicaSets: "Pod names and hostnames",
	} {
		o := kind.Storage().New()
		o.SetName("web.example")
		if got, want := kind.Warnings(o, nil), []string{"metadata.name: this is used in " + use + rest}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q", kind.Resource, got)
		}
		o.SetResourceVersion("1")
		if got := kind.Warnings(o, o); len(got) > 0 {
			t.Errorf("%s, updated: %q", kind.Resource, got)
		}
	}
}
