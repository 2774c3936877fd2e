package api

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestEphemeralContainers(t *testing.T) {
	debugger := func(name string) corev1.EphemeralContainer {
		return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "busybox"}, TargetContainerName: "c"}
	}
	old := &corev1.Pod{ObjectMeta: metaOf("web"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	wantErrors(t, pods.BeforeCreate(old))
	old.Spec.EphemeralContainers = []corev1.EphemeralContainer{debugger("first")}
	pods.SetDefaults(old)
	for _, c := range []struct {
		name  string
		tweak func(*corev1.Pod)
		want  []string
	}{
		{"one more", func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, debugger("second"))
		}, nil},
		{"other fields don't count", func(p *corev1.Pod) { p.Spec.NodeName, p.Labels = "x", map[string]string{"a": "b"} }, nil},
		{"removed", func(p *corev1.Pod) { p.Spec.EphemeralContainers = nil }, []string{
			"spec.ephemeralContainers: Forbidden: existing ephemeral containers \"first\" may not be removed\n"}},
		{"a name that is taken", func(p *corev1.Pod) { p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, debugger("c")) }, []string{
			`spec.ephemeralContainers[1].name: Duplicate value: "c"`}},
		{"an unknown target", func(p *corev1.Pod) {
			e := debugger("second")
			e.TargetContainerName = "first"
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, e)
		}, []string{`spec.ephemeralContainers[1].targetContainerName: Not found: "first"`}},
		{"a workload", func(p *corev1.Pod) {
			e := debugger("second")
			e.Ports = []corev1.ContainerPort{{ContainerPort: 80}}
			e.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
			e.Lifecycle = &corev1.Lifecycle{}
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, e)
		}, []string{
			`spec.ephemeralContainers[1].ports: Forbidden: cannot be set for an Ephemeral Container`,
			`spec.ephemeralContainers[1].restartPolicy: Forbidden: cannot be set for an Ephemeral Container`,
			`spec.ephemeralContainers[1].lifecycle: Forbidden: cannot be set for an Ephemeral Container`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent := old.DeepCopy()
			c.tweak(sent)
			pods.SetDefaults(sent)
			next := WithEphemeralContainers(sent, old)
			wantErrors(t, CheckEphemeralContainers(next, old), c.want...)
			if next.Spec.NodeName != "" || len(next.Labels) > 0 {
				t.Error("more than the containers was taken")
			}
		})
	}
	old.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	wantErrors(t, CheckEphemeralContainers(old, old), `[]: Forbidden: static pods do not support ephemeral containers`)
}
