package api

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// aDeployment is what kubectl create deployment makes.
func aDeployment() *appsv1.Deployment {
	app := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metaOf("web"),
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: app},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: app},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx"}}},
			},
		},
	}
}

func aReplicaSet() *appsv1.ReplicaSet {
	d := aDeployment()
	return &appsv1.ReplicaSet{ObjectMeta: metaOf("web-1"), Spec: appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template}}
}

func TestDeploymentDefaults(t *testing.T) {
	d := aDeployment()
	deployments.PrepareForCreate(d)
	s := &d.Spec
	if *s.Replicas != 1 || *s.RevisionHistoryLimit != 10 || *s.ProgressDeadlineSeconds != 600 {
		t.Errorf("%+v", s)
	}
	if r := s.Strategy.RollingUpdate; s.Strategy.Type != "RollingUpdate" || r.MaxSurge.String() != "25%" || r.MaxUnavailable.String() != "25%" {
		t.Errorf("strategy %+v", s.Strategy)
	}
	pod := &s.Template.Spec
	if pod.RestartPolicy != "Always" || pod.Containers[0].ImagePullPolicy != "Always" {
		t.Errorf("template %+v", pod)
	}
	if pod.EnableServiceLinks != nil || pod.Tolerations != nil || pod.ServiceAccountName != "" || pod.Priority != nil {
		t.Errorf("a template has defaults of a Pod: %+v", pod)
	}
	d = aDeployment()
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	if wantErrors(t, deployments.BeforeCreate(d)); d.Spec.Strategy.RollingUpdate != nil {
		t.Error("Recreate has a rolling update")
	}
}

func TestInvalidDeployments(t *testing.T) {
	rolling := func(unavailable, surge string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			u, s := intstr.Parse(unavailable), intstr.Parse(surge)
			d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxUnavailable: &u, MaxSurge: &s}
		}
	}
	created(t, deployments, aDeployment, []invalidCase[appsv1.Deployment]{
		{"name", func(d *appsv1.Deployment) { d.Name = "-web" }, []string{
			`metadata.name: Invalid value: "-web": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`}},
		{"replicas", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr[int32](-1) }, []string{
			`spec.replicas: Invalid value: -1: must be greater than or equal to 0`}},
		{"no selector", func(d *appsv1.Deployment) { d.Spec.Selector = nil }, []string{
			`spec.selector: Required value`,
			"spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"}},
		{"empty selector", func(d *appsv1.Deployment) { d.Spec.Selector = &metav1.LabelSelector{} }, []string{
			`spec.selector: Invalid value: {}: empty selector is invalid for deployment`}},
		{"selector and labels", func(d *appsv1.Deployment) { d.Spec.Template.Labels = map[string]string{"app": "other"} }, []string{
			"spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`"}},
		{"restart policy", func(d *appsv1.Deployment) { d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever }, []string{
			`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},
		{"image", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "" }, []string{
			`spec.template.spec.containers[0].image: Required value`}},
		{"strategy", func(d *appsv1.Deployment) { d.Spec.Strategy.Type = "Canary" }, []string{
			`spec.strategy: Unsupported value: {"Type":"Canary","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate"`}},
		{"Recreate with numbers", func(d *appsv1.Deployment) {
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{}}
		}, []string{"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"}},
		{"no way to go on", rolling("0%", "0"), []string{
			"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"}},
		{"more than all", rolling("101%", "1"), []string{
			`spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%`}},
		{"no percentage", rolling("half", "-1"), []string{
			`spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "half": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`,
			`spec.strategy.rollingUpdate.maxSurge: Invalid value: -1: must be greater than or equal to 0`}},
		{"deadline", func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 600 }, []string{
			`spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds`}},
	})
	updated(t, deployments, aDeployment, []invalidCase[appsv1.Deployment]{
		{"image", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "httpd" }, nil},
		{"selector", func(d *appsv1.Deployment) {
			other := map[string]string{"app": "other"}
			d.Spec.Selector, d.Spec.Template.Labels = &metav1.LabelSelector{MatchLabels: other}, other
		}, []string{`spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable`}},
	})
}

func TestDeploymentStatus(t *testing.T) {
	old := aDeployment()
	deployments.PrepareForCreate(old)
	d := old.DeepCopy()
	d.Labels = map[string]string{"a": "b"}
	d.Status = appsv1.DeploymentStatus{Replicas: 1, ReadyReplicas: 1, AvailableReplicas: 2}
	wantErrors(t, deployments.BeforeStatusUpdate(d, old),
		`status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas`,
		`status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas`)
	if d.Labels != nil {
		t.Error("a status update changed the labels")
	}
}

func TestReplicaSets(t *testing.T) {
	created(t, replicaSets, aReplicaSet, []invalidCase[appsv1.ReplicaSet]{
		{"empty selector", func(rs *appsv1.ReplicaSet) { rs.Spec.Selector = &metav1.LabelSelector{} }, []string{
			`spec.selector: Invalid value: {}: empty selector is invalid for deployment`}},
		{"selector", func(rs *appsv1.ReplicaSet) {
			rs.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
		}, []string{
			`spec.selector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator`,
			`spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Near"}]}: invalid label selector`}},
		{"deadline", func(rs *appsv1.ReplicaSet) { rs.Spec.Template.Spec.ActiveDeadlineSeconds = ptr[int64](1) }, []string{
			`spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported`}},
	})
	updated(t, replicaSets, aReplicaSet, []invalidCase[appsv1.ReplicaSet]{
		{"selector", func(rs *appsv1.ReplicaSet) {
			rs.Spec.Selector.MatchLabels = map[string]string{"app": "web", "x": "y"}
			rs.Spec.Template.Labels = rs.Spec.Selector.MatchLabels
		}, []string{`spec.selector: Invalid value: {"matchLabels":{"app":"web","x":"y"}}: field is immutable`}},
	})
	rs := aReplicaSet()
	replicaSets.PrepareForCreate(rs)
	bad := rs.DeepCopy()
	bad.Status = appsv1.ReplicaSetStatus{Replicas: -1}
	wantErrors(t, replicaSets.BeforeStatusUpdate(bad, rs),
		`status.replicas: Invalid value: -1: must be greater than or equal to 0`,
		`status.fullyLabeledReplicas: Invalid value: 0: cannot be greater than status.replicas`,
		`status.readyReplicas: Invalid value: 0: cannot be greater than status.replicas`,
		`status.availableReplicas: Invalid value: 0: cannot be greater than status.replicas`)
}

func TestScale(t *testing.T) {
	for _, k := range []*Kind{deployments, replicaSets} {
		var obj Object = aDeployment()
		if k == replicaSets {
			obj = aReplicaSet()
		}
		k.SetDefaults(obj)
		k.Scale.Set(obj, 5)
		if s := k.Scale.Get(obj); s.Spec.Replicas != 5 || s.Status.Selector != "app=web" {
			t.Errorf("%s: %+v", k.Resource, s)
		}
	}
}
