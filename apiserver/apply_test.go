package apiserver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingapply "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
	"orrery.example.org/pki"
)

// tracked is a client of a server that has loaded the schema, called program.
func (c *cluster) tracked(program string) *kubernetes.Clientset {
	c.t.Helper()
	first := coreapply.ConfigMap("first", "default") // whoever applies waits for the schema
	if _, err := c.client().CoreV1().ConfigMaps("default").Apply(c.t.Context(), first, metav1.ApplyOptions{FieldManager: "test"}); err != nil {
		c.t.Fatal(err)
	}
	cfg := rest.CopyConfig(c.admin)
	cfg.UserAgent = program + "/v1 (linux)"
	return kubernetes.NewForConfigOrDie(cfg)
}

// ownersOf is one line per entry of managedFields: who, how, what.
func ownersOf(o metav1.Object) []string {
	var lines []string
	for _, e := range o.GetManagedFields() {
		name := e.Manager
		if e.Subresource != "" {
			name += "/" + e.Subresource
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %s", name, e.Operation, e.APIVersion, strings.NewReplacer(`"`, "", `\`, "").Replace(e.FieldsV1.GetRawString())))
	}
	slices.Sort(lines)
	return lines
}

func wantOwners(t *testing.T, what string, o metav1.Object, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := ownersOf(o); !slices.Equal(got, want) {
		t.Errorf("%s: the owners are\n\t%s\nnot\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	for _, e := range o.GetManagedFields() {
		if e.Time == nil && e.Subresource != "scale" || e.FieldsType != "FieldsV1" {
			t.Errorf("%s: an entry without time or type: %+v", what, e)
		}
	}
}

// TestOwners writes a ConfigMap in every way and looks whose its fields are then.
func TestOwners(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	maps := c.tracked("alice").CoreV1().ConfigMaps("default")

	made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "m-", Labels: map[string]string{"l": "1"}},
		Data: map[string]string{"a": "1", "b": "1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "create", made, "alice Update v1 {f:data:{.:{},f:a:{},f:b:{}},f:metadata:{f:generateName:{},f:labels:{.:{},f:l:{}}}}")

	made.Data["b"] = "2"
	updated, err := maps.Update(ctx, made, metav1.UpdateOptions{FieldManager: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	alice := "alice Update v1 {f:data:{.:{},f:a:{}},f:metadata:{f:generateName:{},f:labels:{.:{},f:l:{}}}}"
	wantOwners(t, "update", updated, alice, "bob Update v1 {f:data:{f:b:{}}}")

	patched, err := maps.Patch(ctx, made.Name, types.MergePatchType, []byte(`{"data":{"b":null,"c":"3"}}`), metav1.PatchOptions{FieldManager: "carol"})
	if err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "patch", patched, alice, "carol Update v1 {f:data:{f:c:{}}}")

	again, err := maps.Patch(ctx, made.Name, types.MergePatchType, []byte(`{"data":{"c":"3"}}`), metav1.PatchOptions{FieldManager: "dave"})
	if err != nil || again.ResourceVersion != patched.ResourceVersion {
		t.Errorf("a patch that changes nothing wrote: %v, %s after %s", err, again.ResourceVersion, patched.ResourceVersion)
	}

	// Who sends none doesn't take them away; who sends an empty list does.
	again.ManagedFields = nil
	if again, err = maps.Update(ctx, again, metav1.UpdateOptions{}); err != nil || len(again.ManagedFields) != 2 {
		t.Errorf("an update without owners: %v, %v", err, ownersOf(again))
	}
	reset, err := maps.Patch(ctx, made.Name, types.MergePatchType, []byte(`{"metadata":{"managedFields":[{}]}}`), metav1.PatchOptions{})
	if err != nil || len(reset.ManagedFields) != 0 {
		t.Errorf("a reset: %v, %v", err, ownersOf(reset))
	}
	reset.Data["a"] = "3"
	if reset, err = maps.Update(ctx, reset, metav1.UpdateOptions{}); err != nil || len(reset.ManagedFields) != 0 {
		t.Errorf("an update of what isn't tracked: %v, %v", err, ownersOf(reset))
	}

	// The first who applies shares it with those before.
	applied, err := maps.Apply(ctx, coreapply.ConfigMap(made.Name, "default").WithData(map[string]string{"d": "4"}), metav1.ApplyOptions{FieldManager: "erin"})
	if err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "apply", applied, "erin Apply v1 {f:data:{f:d:{}}}",
		"before-first-apply Update v1 {f:data:{.:{},f:a:{},f:c:{}},f:metadata:{f:generateName:{},f:labels:{.:{},f:l:{}}}}")
}

// TestApply is server-side apply with client-go's typed clients.
func TestApply(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	maps := c.tracked("alice").CoreV1().ConfigMaps("default")
	data := func(kv ...string) *coreapply.ConfigMapApplyConfiguration {
		m := coreapply.ConfigMap("m", "default")
		m.Data = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m.Data[kv[i]] = kv[i+1]
		}
		return m
	}
	as := func(manager string) metav1.ApplyOptions { return metav1.ApplyOptions{FieldManager: manager} }

	if _, err := maps.Apply(ctx, data("a", "1"), metav1.ApplyOptions{FieldManager: "one", DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Get(ctx, "m", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run created it: %v", err)
	}
	first, err := maps.Apply(ctx, data("a", "1", "b", "1"), as("one"))
	if err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "create by apply", first, "one Apply v1 {f:data:{f:a:{},f:b:{}}}")
	same, err := maps.Apply(ctx, data("a", "1", "b", "1"), as("one"))
	if err != nil || same.ResourceVersion != first.ResourceVersion {
		t.Errorf("the same applied again wrote: %v, %s after %s", err, same.ResourceVersion, first.ResourceVersion)
	}

	_, err = maps.Apply(ctx, data("a", "2", "c", "2"), as("two"))
	var refused apierrors.APIStatus = err.(*apierrors.StatusError)
	const why = `Apply failed with 1 conflict: conflict with "one": .data.a`
	if s := refused.Status(); s.Code != 409 || s.Reason != metav1.StatusReasonConflict || s.Message != why || len(s.Details.Causes) != 1 ||
		s.Details.Causes[0] != (metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "one"`, Field: ".data.a"}) {
		t.Errorf("a conflict is %+v", s)
	}
	forced, err := maps.Apply(ctx, data("a", "2", "c", "2"), metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "force", forced, "one Apply v1 {f:data:{f:b:{}}}", "two Apply v1 {f:data:{f:a:{},f:c:{}}}")

	// A field that nobody names any more goes; the others' stay.
	left, err := maps.Apply(ctx, data("c", "2"), as("two"))
	if err != nil || fmt.Sprint(left.Data) != "map[b:1 c:2]" {
		t.Errorf("a field is no longer applied: %v, %v", err, left.Data)
	}
	if _, err = maps.Apply(ctx, data("c", "3").WithResourceVersion("1"), as("two")); !apierrors.IsConflict(err) {
		t.Errorf("apply to another version: %v", err)
	}
	if _, err = maps.Apply(ctx, data("not ok", "3"), as("two")); !apierrors.IsInvalid(err) {
		t.Errorf("apply what is not valid: %v", err)
	}
}

// TestApplyParts has the status, the scale and the rest of a Deployment owned by three.
func TestApplyParts(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	deployments := c.tracked("alice").AppsV1().Deployments("default")
	labels := map[string]string{"app": "web"}
	web := appsapply.Deployment("web", "default").
		WithSpec(appsapply.DeploymentSpec().WithReplicas(2).WithSelector(metaapply.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(coreapply.PodTemplateSpec().WithLabels(labels).WithSpec(coreapply.PodSpec().
				WithContainers(coreapply.Container().WithName("web").WithImage("nginx"))))).
		WithStatus(appsapply.DeploymentStatus().WithReplicas(7))
	const rest = "f:selector:{},f:template:{f:metadata:{f:labels:{f:app:{}}},f:spec:{f:containers:{k:{name:web}:{.:{},f:image:{},f:name:{}}}}}"

	d, err := deployments.Apply(ctx, web, metav1.ApplyOptions{FieldManager: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "apply", d, "alice Apply apps/v1 {f:spec:{f:replicas:{},"+rest+"}}")
	if d.Status.Replicas != 0 || d.Generation != 1 {
		t.Errorf("apply wrote the status (%d) or counted %d generations", d.Status.Replicas, d.Generation)
	}
	if d, err = deployments.ApplyStatus(ctx, web.WithLabels(labels), metav1.ApplyOptions{FieldManager: "controller"}); err != nil {
		t.Fatal(err)
	}
	status := "controller/status Apply apps/v1 {f:status:{f:replicas:{}}}"
	wantOwners(t, "apply the status", d, "alice Apply apps/v1 {f:spec:{f:replicas:{},"+rest+"}}", status)
	if d.Status.Replicas != 7 || len(d.Labels) != 0 || d.Generation != 1 {
		t.Errorf("apply of the status: %d replicas, labels %v, generation %d", d.Status.Replicas, d.Labels, d.Generation)
	}

	three := autoscalingapply.Scale().WithKind("Scale").WithAPIVersion("autoscaling/v1").WithName("web").WithNamespace("default").
		WithSpec(autoscalingapply.ScaleSpec().WithReplicas(3))
	_, err = deployments.ApplyScale(ctx, "web", three, metav1.ApplyOptions{FieldManager: "scaler"})
	if err == nil || !strings.Contains(err.Error(), `Apply failed with 1 conflict: conflict with "alice": .spec.replicas`) {
		t.Errorf("the replicas are taken without a conflict: %v", err)
	}
	scale, err := deployments.ApplyScale(ctx, "web", three, metav1.ApplyOptions{FieldManager: "scaler", Force: true})
	if err != nil || scale.Spec.Replicas != 3 {
		t.Fatalf("apply a scale: %v, %v", scale, err)
	}
	if d, err = deployments.Get(ctx, "web", metav1.GetOptions{}); err != nil || *d.Spec.Replicas != 3 || d.Generation != 2 {
		t.Errorf("after the scale: %v, %d replicas, generation %d", err, *d.Spec.Replicas, d.Generation)
	}
	wantOwners(t, "apply a scale", d, "alice Apply apps/v1 {f:spec:{"+rest+"}}", status, "scaler/scale Apply apps/v1 {f:spec:{f:replicas:{}}}")

	scale.Spec.Replicas = 4
	if _, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{FieldManager: "bob"}); err != nil {
		t.Fatal(err)
	}
	d, _ = deployments.Get(ctx, "web", metav1.GetOptions{})
	wantOwners(t, "update a scale", d, "alice Apply apps/v1 {f:spec:{"+rest+"}}", status, "bob/scale Update apps/v1 {f:spec:{f:replicas:{}}}")

	_, err = deployments.ApplyStatus(ctx, appsapply.Deployment("none", "default"), metav1.ApplyOptions{FieldManager: "controller"})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the status of none was applied: %v", err)
	}
}

// TestApplyEveryKind creates an object of each kind and version by apply, and updates it.
func TestApplyEveryKind(t *testing.T) {
	c := start(t)
	c.tracked("test")
	for _, k := range api.Table {
		if !k.Stored() {
			continue
		}
		for _, v := range k.Versions {
			if v.NewList == nil {
				continue // a question, never stored
			}
			t.Run(v.GroupVersion().String()+"/"+k.Resource, func(t *testing.T) {
				gvr := schema.GroupVersionResource{Group: v.Group, Version: v.Version, Resource: k.Resource}
				namespace := ""
				if k.Namespaced {
					namespace = "default"
				}
				resource := c.dynamic().Resource(gvr).Namespace(namespace)
				name := strings.Trim(v.Group+".example", ".")
				if k.Resource == "ipaddresses" {
					name = "10.96.7.7"
				}
				o := &unstructured.Unstructured{Object: example(t, k.Resource, v.GroupVersionKind, name, namespace)}
				made, err := resource.Apply(t.Context(), name, o, metav1.ApplyOptions{FieldManager: "one"})
				if err != nil {
					t.Fatal(err)
				}
				if entries := made.GetManagedFields(); len(entries) != 1 || entries[0].APIVersion != v.GroupVersion().String() {
					t.Errorf("created by apply: %v", ownersOf(made))
				}
				if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
					if made, err = resource.Get(t.Context(), name, metav1.GetOptions{}); err == nil {
						made.SetLabels(map[string]string{"l": "1", corev1.LabelMetadataName: name})
						made, err = resource.Update(t.Context(), made, metav1.UpdateOptions{FieldManager: "two"})
					}
					return err
				}); err != nil {
					t.Fatal(err)
				}
				all := strings.Join(ownersOf(made), "\n")
				if want := "two Update " + v.GroupVersion().String() + " {f:metadata:{f:labels:{"; strings.Count(all, "\n") != 1 || !strings.Contains(all, want) {
					t.Errorf("updated:\n%s\nwant a second entry %s", all, want)
				}
			})
		}
	}
}

// example is as little of a kind as is valid.
func example(t *testing.T, resource string, gvk schema.GroupVersionKind, name, namespace string) map[string]any {
	t.Helper()
	const template = `"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	bodies := map[string]string{
		"pods":           `{"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}]}]}}`,
		"services":       `{"spec":{"ports":[{"port":80}]}}`,
		"deployments":    `{"spec":{` + template + `}}`,
		"replicasets":    `{"spec":{` + template + `}}`,
		"endpointslices": `{"addressType":"IPv4","endpoints":[]}`,
		"events":         `{"involvedObject":{"namespace":"default","name":"x","kind":"Pod"},"reason":"r","message":"m"}`,
		"ingresses":      `{"spec":{"defaultBackend":{"service":{"name":"web","port":{"number":80}}}}}`,
		"ingressclasses": `{"spec":{"controller":"example.com/x"}}`,
		"leases":         `{"spec":{"holderIdentity":"me"}}`,
		"ipaddresses":    `{"spec":{"parentRef":{"resource":"gateways","name":"g"}}}`,
		"servicecidrs":   `{"spec":{"cidrs":["10.200.0.0/16"]}}`,
		"rolebindings":   `{"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"x"}}`,

		"clusterrolebindings": `{"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"x"}}`,

		"certificatesigningrequests": `{"spec":{"request":"` + base64.StdEncoding.EncodeToString(requestFor(t, pki.Request{User: "x"})) +
			`","signerName":"example.com/s","usages":["client auth"]}}`,
	}
	if gvk.Group == "events.k8s.io" {
		bodies["events"] = `{"regarding":{"namespace":"default","name":"x","kind":"Pod"},"reason":"r","action":"a","type":"Normal",` +
			`"reportingController":"k8s.io/c","reportingInstance":"i","eventTime":"2026-01-01T00:00:00.000000Z"}`
	}
	body := map[string]any{}
	if text := bodies[resource]; text != "" {
		if err := json.Unmarshal([]byte(text), &body); err != nil {
			t.Fatal(err)
		}
	}
	// Something to own for kinds that need nothing.
	meta := map[string]any{"name": name, "annotations": map[string]any{"a": "1"}}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	body["apiVersion"], body["kind"], body["metadata"] = gvk.GroupVersion().String(), gvk.Kind, meta
	return body
}

// noCreate lets everybody do everything but create.
type noCreate struct{}

func (noCreate) Authorize(_ context.Context, a auth.Attributes) (bool, string, error) {
	return a.Verb != "create", "", nil
}

// TestCreateByOtherVerbs: who creates by apply or update must be allowed to create.
func TestCreateByOtherVerbs(t *testing.T) {
	c := start(t, func(cfg *Config) { cfg.Authorizer = noCreate{} })
	const why = `User "kubernetes-admin" cannot create resource "%s" in API group "%s" in the namespace "default"`
	_, err := c.client().CoreV1().ConfigMaps("default").Apply(t.Context(), coreapply.ConfigMap("m", "default"), metav1.ApplyOptions{FieldManager: "one"})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), fmt.Sprintf(why, "configmaps", "")) {
		t.Errorf("apply: %v", err)
	}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}}
	_, err = c.client().CoordinationV1().Leases("default").Update(t.Context(), lease, metav1.UpdateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), fmt.Sprintf(why, "leases", "coordination.k8s.io")) {
		t.Errorf("update: %v", err)
	}
}
