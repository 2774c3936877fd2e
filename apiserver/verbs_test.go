package apiserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "test"}}, Data: data}
}

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
			},
		},
	}
}

// TestVerbs does everything once, in JSON and in protobuf.
func TestVerbs(t *testing.T) {
	c := start(t)
	for name, client := range map[string]*kubernetes.Clientset{"json": c.client(), "protobuf": c.protobuf()} {
		t.Run(name, func(t *testing.T) { testVerbs(t, client, name) })
	}
}

func testVerbs(t *testing.T, client *kubernetes.Clientset, ns string) {
	ctx := t.Context()
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	maps := client.CoreV1().ConfigMaps(ns)
	made, err := maps.Create(ctx, configMap("a", map[string]string{"k": "1"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if made.UID == "" || made.CreationTimestamp.IsZero() || made.ResourceVersion == "" || made.Namespace != ns {
		t.Errorf("metadata %+v", made.ObjectMeta)
	}
	stale := made.DeepCopy()
	made.Data["k"] = "2"
	updated, err := maps.Update(ctx, made, metav1.UpdateOptions{})
	if err != nil || updated.Data["k"] != "2" || updated.ResourceVersion == made.ResourceVersion {
		t.Fatal(updated, err)
	}
	if _, err := maps.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a stale update: %v", err)
	}
	same, err := maps.Update(ctx, updated, metav1.UpdateOptions{})
	if err != nil || same.ResourceVersion != updated.ResourceVersion {
		t.Errorf("an update that changes nothing was written: %v %v", same, err)
	}
	for kind, patch := range map[types.PatchType]string{
		types.MergePatchType:          `{"data":{"merge":"x"}}`,
		types.StrategicMergePatchType: `{"data":{"strategic":"x","k":null}}`,
		types.JSONPatchType:           `[{"op":"add","path":"/data/json","value":"x"}]`,
	} {
		if _, err := maps.Patch(ctx, "a", kind, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	got, err := maps.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || fmt.Sprint(got.Data) != "map[json:x merge:x strategic:x]" {
		t.Errorf("after patches %v %v", got.Data, err)
	}
	for i := range 5 {
		if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "gen-", Labels: map[string]string{"i": fmt.Sprint(i)}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := maps.List(ctx, metav1.ListOptions{Limit: 4})
	if err != nil || len(page.Items) != 4 || page.Continue == "" {
		t.Fatalf("first page %d %v", len(page.Items), err)
	}
	rest, err := maps.List(ctx, metav1.ListOptions{Limit: 4, Continue: page.Continue})
	if err != nil || len(rest.Items) != 2 || rest.Continue != "" || rest.ResourceVersion != page.ResourceVersion {
		t.Fatalf("second page %d %v", len(rest.Items), err)
	}
	some, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "i in (1,2)"})
	if err != nil || len(some.Items) != 2 {
		t.Errorf("selected %d %v", len(some.Items), err)
	}
	one, err := maps.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=a"})
	if err != nil || len(one.Items) != 1 {
		t.Errorf("selected %d %v", len(one.Items), err)
	}
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("wrong")}); !apierrors.IsConflict(err) {
		t.Errorf("delete with a wrong uid: %v", err)
	}
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "i!=3"}); err != nil {
		t.Error(err)
	}
	if left, err := maps.List(ctx, metav1.ListOptions{}); err != nil || len(left.Items) != 1 {
		t.Errorf("left %d %v", len(left.Items), err)
	}
}

// TestCreateOnUpdate: for some kinds an update makes what isn't there.
func TestCreateOnUpdate(t *testing.T) {
	c := start(t)
	const endpoints = "/api/v1/namespaces/default/endpoints/web"
	body := `{"metadata":{"name":"web","resourceVersion":"1"},"subsets":[]}` // the version of one that is gone
	if code, _, answer := c.call(c.http(), "PUT", endpoints+"?dryRun=All", body); code != 201 {
		t.Error(code, answer)
	}
	code, header, answer := c.call(c.http(), "PUT", endpoints, body)
	if code != 201 || !strings.Contains(answer, `"uid":`) {
		t.Error(code, answer)
	}
	const deprecated = `299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"`
	if got := header.Values("Warning"); !slices.Equal(got, []string{deprecated}) {
		t.Errorf("warnings %q", got)
	}
	if code, _, answer := c.call(c.http(), "PUT", endpoints, body); code != 409 {
		t.Error(code, answer)
	}
	if code, _, answer := c.call(c.http(), "PUT", strings.Replace(endpoints, "default", "nowhere", 1), body); code != 404 {
		t.Error(code, answer)
	}
}

// TestCompletedRow: clients may leave out rows of Pods that are done.
func TestCompletedRow(t *testing.T) {
	c := start(t)
	ctx, pods := t.Context(), c.client().CoreV1().Pods("default")
	for name, phase := range map[string]corev1.PodPhase{"done": corev1.PodSucceeded, "runs": corev1.PodRunning} {
		made, err := pods.Create(ctx, pod(name, "", "c"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made.Status.Phase = phase
		if _, err := pods.UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, _, body := c.call(c.http(), "GET", "/api/v1/namespaces/default/pods", "", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io")
	var table metav1.Table
	if err := json.Unmarshal([]byte(body), &table); err != nil || len(table.Rows) != 2 {
		t.Fatal(err, body)
	}
	want := []metav1.TableRowCondition{{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: "Succeeded", Message: "The pod has completed successfully."}}
	if done, runs := table.Rows[0].Conditions, table.Rows[1].Conditions; !slices.Equal(done, want) || len(runs) > 0 {
		t.Errorf("done %v, runs %v", done, runs)
	}
}

func TestDryRun(t *testing.T) {
	c := start(t)
	ctx, maps := t.Context(), c.client().CoreV1().ConfigMaps("default")
	all := []string{metav1.DryRunAll}
	made, err := maps.Create(ctx, configMap("a", nil), metav1.CreateOptions{DryRun: all})
	if err != nil || made.UID == "" || made.ResourceVersion != "" {
		t.Fatal(made, err)
	}
	if _, err := maps.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run was written: %v", err)
	}
	if _, err := maps.Create(ctx, configMap("a", map[string]string{"k": "1"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	changed, err := maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"k":"2"}}`), metav1.PatchOptions{DryRun: all})
	if err != nil || changed.Data["k"] != "2" {
		t.Error(changed, err)
	}
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{DryRun: all}); err != nil {
		t.Error(err)
	}
	if got, err := maps.Get(ctx, "a", metav1.GetOptions{}); err != nil || got.Data["k"] != "1" {
		t.Errorf("a dry run was written: %v %v", got, err)
	}
	services := c.client().CoreV1().Services("default")
	svc, err := services.Create(ctx, service("s", corev1.ServiceTypeNodePort), metav1.CreateOptions{DryRun: all})
	if err != nil || svc.Spec.ClusterIP == "" || svc.Spec.Ports[0].NodePort == 0 {
		t.Error(svc, err)
	}
}

func TestFieldValidation(t *testing.T) {
	c := start(t)
	const body = `{"metadata":{"name":"%s"},"data":{"a":"b"},"foo":1}`
	code, header, _ := c.call(c.http(), "POST", configMaps+"?fieldValidation=Warn", fmt.Sprintf(body, "w"))
	if w := header.Get("Warning"); code != 201 || w != `299 - "unknown field \"foo\""` {
		t.Errorf("%d %q", code, w)
	}
	code, header, _ = c.call(c.http(), "POST", configMaps+"?fieldValidation=Ignore", fmt.Sprintf(body, "i"))
	if w := header.Get("Warning"); code != 201 || w != "" {
		t.Errorf("%d %q", code, w)
	}
	code, _, answer := c.call(c.http(), "PATCH", configMaps+"/w?fieldValidation=Strict", `{"bar":1}`, "Content-Type: application/strategic-merge-patch+json")
	if code != 422 || !strings.Contains(answer, `unknown field \"bar\"`) {
		t.Errorf("%d %s", code, answer)
	}
	code, _, answer = c.call(c.http(), "POST", configMaps, "metadata: {name: yes-a-name}\ndata: {a: b}\n", "Content-Type: application/yaml", "Accept: application/yaml")
	if code != 201 || !strings.Contains(answer, "\nkind: ConfigMap\n") {
		t.Errorf("%d %s", code, answer)
	}
}

func TestStatusAndScale(t *testing.T) {
	c := start(t)
	ctx, deployments := t.Context(), c.client().AppsV1().Deployments("default")
	d, err := deployments.Create(ctx, deployment("web"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.Status.Replicas, d.Spec.Replicas = 7, new(int32(9))
	if d, err = deployments.UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if d.Status.Replicas != 7 || *d.Spec.Replicas != 2 || d.Generation != 1 {
		t.Errorf("/status wrote more than the status: %v %v", d.Spec.Replicas, d.Generation)
	}
	d.Status.Replicas = 8
	if d, err = deployments.Update(ctx, d, metav1.UpdateOptions{}); err != nil || d.Status.Replicas != 7 {
		t.Errorf("an update wrote the status: %v %v", d.Status, err)
	}
	scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 2 || scale.Status.Selector != "app=web" || scale.ResourceVersion != d.ResourceVersion {
		t.Fatal(scale, err)
	}
	scale.Spec.Replicas = 5
	if scale, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); err != nil || scale.Spec.Replicas != 5 {
		t.Fatal(scale, err)
	}
	stale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", ResourceVersion: d.ResourceVersion}}
	if _, err := deployments.UpdateScale(ctx, "web", stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a stale scale: %v", err)
	}
	if _, err := deployments.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":-1}}`), metav1.PatchOptions{}, "scale"); !apierrors.IsInvalid(err) {
		t.Errorf("a negative scale: %v", err)
	}
	if d, err = deployments.Get(ctx, "web", metav1.GetOptions{}); err != nil || *d.Spec.Replicas != 5 || d.Generation != 2 {
		t.Errorf("replicas %d generation %d %v", *d.Spec.Replicas, d.Generation, err)
	}
}

// TestPatchRetries lets many clients patch one object: nobody sees a conflict, and
// nothing is lost.
func TestPatchRetries(t *testing.T) {
	c := start(t)
	ctx, maps := t.Context(), c.client().CoreV1().ConfigMaps("default")
	if _, err := maps.Create(ctx, configMap("a", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const n = 32
	errs := make(chan error, n)
	for i := range n {
		go func() {
			_, err := maps.Patch(ctx, "a", types.MergePatchType, fmt.Appendf(nil, `{"data":{"k%d":"x"}}`, i), metav1.PatchOptions{})
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got, err := maps.Get(ctx, "a", metav1.GetOptions{}); err != nil || len(got.Data) != n {
		t.Errorf("%d of %d patches are there: %v", len(got.Data), n, err)
	}
}

func TestTables(t *testing.T) {
	c := start(t)
	const accept = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	for include, want := range map[string]string{"": "PartialObjectMetadata", "Metadata": "PartialObjectMetadata", "Object": "Namespace", "None": ""} {
		code, _, body := c.call(c.http(), "GET", "/api/v1/namespaces?includeObject="+include, "", accept)
		var table metav1.Table
		if err := json.Unmarshal([]byte(body), &table); err != nil || code != 200 {
			t.Fatal(code, err, body)
		}
		if table.Kind != "Table" || table.APIVersion != "meta.k8s.io/v1" || len(table.Rows) != 4 || table.ResourceVersion == "" ||
			len(table.ColumnDefinitions) != len(table.Rows[0].Cells) || table.Rows[0].Cells[0] != "default" {
			t.Errorf("%s", body)
		}
		var object metav1.PartialObjectMetadata
		if raw := table.Rows[0].Object.Raw; raw != nil && string(raw) != "null" {
			if err := json.Unmarshal(raw, &object); err != nil || object.Name != "default" {
				t.Errorf("%v %s", err, raw)
			}
		}
		if object.Kind != want {
			t.Errorf("includeObject=%q carries %q", include, object.Kind)
		}
	}
	if code, _, body := c.call(c.http(), "GET", "/api/v1/namespaces?includeObject=All", "", accept); code != 400 {
		t.Error(code, body)
	}
}

func TestMetadataClient(t *testing.T) {
	c := start(t)
	client, err := metadata.NewForConfig(c.admin)
	if err != nil {
		t.Fatal(err)
	}
	list, err := client.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 4 || list.Items[0].Name != "default" {
		t.Fatal(list, err)
	}
	one, err := client.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil || one.Labels[corev1.LabelMetadataName] != "default" {
		t.Error(one, err)
	}
}

func TestDynamicClient(t *testing.T) {
	c := start(t)
	leases := c.dynamic().Resource(coordinationv1.SchemeGroupVersion.WithResource("leases")).Namespace("kube-node-lease")
	lease := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
		"metadata": map[string]any{"name": "n1"},
		"spec":     map[string]any{"holderIdentity": "n1", "leaseDurationSeconds": int64(40)},
	}}
	if _, err := leases.Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := leases.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].GetKind() != "Lease" {
		t.Error(list, err)
	}
}

// TestGzip: large answers are compressed for who asks for it.
func TestGzip(t *testing.T) {
	c := start(t)
	maps := c.client().CoreV1().ConfigMaps("default")
	if _, err := maps.Create(t.Context(), configMap("big", map[string]string{"k": strings.Repeat("x", gzipFrom)}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, header, body := c.call(c.http(), "GET", configMaps, "", "Accept-Encoding: gzip")
	if header.Get("Content-Encoding") != "gzip" || len(body) > gzipFrom/10 {
		t.Errorf("%v, %d bytes", header, len(body))
	}
	if list, err := maps.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items[0].Data["k"]) != gzipFrom {
		t.Errorf("%v", err)
	}
}

func TestNamespaceLife(t *testing.T) {
	c := start(t)
	ctx, client := t.Context(), c.client()
	namespaces := client.CoreV1().Namespaces()
	ns, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceActive || len(ns.Spec.Finalizers) != 1 {
		t.Fatal(ns, err)
	}
	if err := namespaces.Delete(ctx, "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if ns, err = namespaces.Get(ctx, "x", metav1.GetOptions{}); err != nil || ns.Status.Phase != corev1.NamespaceTerminating || ns.DeletionTimestamp == nil {
		t.Fatal(ns, err)
	}
	_, err = client.CoreV1().ConfigMaps("x").Create(ctx, configMap("a", nil), metav1.CreateOptions{})
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || !apierrors.IsForbidden(err) {
		t.Errorf("create in a terminating namespace: %v", err)
	}
	ns.Spec.Finalizers = nil
	if _, err := namespaces.Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := namespaces.Get(ctx, "x", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace lives on: %v", err)
	}
}

// TestFinalizer: an object whose deletion was asked for goes with its last finalizer.
func TestFinalizer(t *testing.T) {
	c := start(t)
	ctx, maps := t.Context(), c.client().CoreV1().ConfigMaps("default")
	object := configMap("a", nil)
	object.Finalizers = []string{"example.org/first", "example.org/second"}
	if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.org/second"]}}`), metav1.PatchOptions{})
	if err != nil || got.DeletionTimestamp == nil {
		t.Fatal(got, err)
	}
	if _, err := maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the object lives on: %v", err)
	}
}

func TestDeleteAnswers(t *testing.T) {
	c := start(t)
	if code, _, body := c.call(c.http(), "POST", configMaps, `{"metadata":{"name":"a"}}`); code != 201 {
		t.Fatal(body)
	}
	_, _, body := c.call(c.http(), "DELETE", configMaps+"/a", "")
	var s metav1.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.Status != metav1.StatusSuccess || s.Details.Name != "a" || s.Details.Kind != "configmaps" || s.Details.UID == "" {
		t.Error(body)
	}
	if code, _, body := c.call(c.http(), "POST", "/apis/apps/v1/namespaces/default/deployments", mustJSON(t, deployment("d"))); code != 201 {
		t.Fatal(body)
	}
	code, _, body := c.call(c.http(), "DELETE", "/apis/apps/v1/namespaces/default/deployments/d", `{"propagationPolicy":"Foreground"}`)
	if code != 200 || !strings.Contains(body, `"foregroundDeletion"`) {
		t.Error(code, body)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEvents(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"},
		Reason:         "Tested", Message: "hello", Type: corev1.EventTypeNormal,
		FirstTimestamp: metav1.NewTime(time.Now()), LastTimestamp: metav1.NewTime(time.Now()),
	}
	if _, err := c.client().CoreV1().Events("default").Create(ctx, event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := c.client().EventsV1().Events("default").List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Note != "hello" || list.Items[0].Regarding.Name != "p" {
		t.Error(list, err)
	}
	old, err := c.client().CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=p"})
	if err != nil || len(old.Items) != 1 {
		t.Error(old, err)
	}
}

// TestAnonymous: health is open, nothing else.
func TestAnonymous(t *testing.T) {
	c := start(t)
	cfg := rest.AnonymousClientConfig(c.admin)
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/healthz": 200, "/livez": 200, "/readyz": 200, "/version": 200, "/readyz/etcd": 403, "/api": 403, "/api/v1/namespaces": 403, "/nonsense": 403, "/metrics": 403} {
		if code, _, body := c.call(client, "GET", path, ""); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
