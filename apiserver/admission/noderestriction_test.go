package admission

import (
	"context"
	"errors"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
)

// holding is a cluster that has some objects.
type holding []api.Object

func (s holding) Get(_ context.Context, gr schema.GroupResource, namespace, name string) (api.Object, error) {
	for _, o := range s {
		_, pod := o.(*corev1.Pod)
		if pod == (gr.Resource == "pods") && o.GetNamespace() == namespace && o.GetName() == name {
			return o, nil
		}
	}
	return nil, apierrors.NewNotFound(gr, name)
}

func (s holding) List(context.Context, schema.GroupResource, string) ([]api.Object, error) {
	return s, nil
}

// audience may be asked for.
type audience string

func (g audience) Authorize(_ context.Context, a auth.Attributes) (bool, string, error) {
	return a.Verb == "request-serviceaccounts-token-audience" && a.Resource == string(g) && a.Namespace == "shop", "", nil
}

func TestNodeRestriction(t *testing.T) {
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "7", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "1", Controller: new(true)}}}, Spec: corev1.PodSpec{NodeName: "n1"}}
		if change != nil {
			change(p)
		}
		return p
	}
	node := func(change func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "1", Labels: map[string]string{"kubernetes.io/hostname": "n1"}}}
		if change != nil {
			change(n)
		}
		return n
	}
	label := func(key string) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Labels[key] = "x" }
	}
	token := func(uid types.UID, audience string) *authenticationv1.TokenRequest {
		return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience},
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "web", UID: uid}}}
	}
	lease := func(name string) api.Object { return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	elsewhere := pod(func(p *corev1.Pod) { p.Name, p.Spec.NodeName = "db", "n2" })
	runs := pod(func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault"}}}}}}}
	})
	for _, c := range []struct {
		name        string
		op          Operation
		resource    string // resource[/subresource]
		object, old api.Object
		fails       string
	}{
		{"a mirror Pod", Create, "pods", pod(nil), nil, ""},
		{"a Pod", Create, "pods", pod(func(p *corev1.Pod) { p.Annotations = nil }), nil, `pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods`},
		{"another's mirror Pod", Create, "pods", elsewhere, nil, `node "n1" can only create pods with spec.nodeName set to itself`},
		{"nobody's", Create, "pods", pod(func(p *corev1.Pod) { p.OwnerReferences = nil }), nil, `node "n1" can only create pods with an owner reference set to itself`},
		{"not controlled", Create, "pods", pod(func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }), nil, `node "n1" can only create pods with a controller owner reference set to itself`},
		{"an earlier node's", Create, "pods", pod(func(p *corev1.Pod) { p.OwnerReferences[0].UID = "0" }), nil, `node n1 UID mismatch: expected 0 got 1`},
		{"with an account", Create, "pods", pod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "default" }), nil, `node "n1" can not create pods that reference serviceaccounts`},
		{"a change", Update, "pods", pod(nil), pod(nil), `unexpected operation "UPDATE", node "n1" can only create and delete mirror pods`},
		{"delete its own", Delete, "pods", nil, pod(nil), ""},
		{"delete another's", Delete, "pods", nil, elsewhere, `node "n1" can only delete pods with spec.nodeName set to itself`},
		{"status", Update, "pods/status", pod(nil), pod(nil), ""},
		{"another's status", Update, "pods/status", elsewhere, elsewhere, `node "n1" can only update pod status for pods with spec.nodeName set to itself`},
		{"labels through the status", Update, "pods/status", pod(func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }), pod(nil), `node "n1" cannot update labels through pod status`},
		{"binding", Create, "pods/binding", pod(nil), nil, `unexpected pod subresource "binding", only 'status' and 'eviction' are allowed`},
		{"eviction", Create, "pods/eviction", elsewhere, nil, `node n1 can only evict pods with spec.nodeName set to itself`},

		{"itself", Create, "nodes", node(label("node.kubernetes.io/x")), nil, ""},
		{"another node", Create, "nodes", node(func(n *corev1.Node) { n.Name = "n2" }), nil, `node "n1" is not allowed to modify node "n2"`},
		{"labels of its own", Update, "nodes", node(label("example.com/x")), node(nil), ""},
		{"Kubernetes' labels", Create, "nodes", node(label("node-role.kubernetes.io/control-plane")), nil, `node "n1" is not allowed to set the following labels: node-role.kubernetes.io/control-plane`},
		{"a restricted label taken away", Update, "nodes", node(nil), node(label("node-restriction.kubernetes.io/x")), `is not allowed to modify labels: node-restriction.kubernetes.io/x`},
		{"zone", Update, "nodes/status", node(label("topology.kubernetes.io/zone")), node(nil), ""},
		{"taints", Update, "nodes", node(func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "a"}} }), node(nil), `node "n1" is not allowed to modify taints`},

		{"its lease", Create, "leases", lease("n1"), nil, ""},
		{"another's lease", Create, "leases", lease("n2"), nil, `can only access node lease with the same name as the requesting node`},

		{"a token for its Pod", Create, "serviceaccounts/token", token("7", "vault"), nil, ""},
		{"a token for what it may", Create, "serviceaccounts/token", token("7", "granted"), nil, ""},
		{"a token for something else", Create, "serviceaccounts/token", token("7", "bank"), nil, `system:node:n1 is not authorized to request tokens for audience "bank"`},
		{"a token for nobody", Create, "serviceaccounts/token", &authenticationv1.TokenRequest{}, nil, `node requested token not bound to a pod`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &Attributes{Operation: c.op, Object: c.object, Old: c.old, Cluster: holding{runs, elsewhere, node(nil)}, Authorizer: audience("granted"),
				User: &auth.User{Name: "system:node:n1", Groups: []string{"system:nodes"}}}
			resource, subresource, _ := strings.Cut(c.resource, "/")
			a.Subresource, a.Kind = subresource, api.ByResource("", resource)
			if resource == "leases" {
				a.Kind, a.Namespace = api.ByResource("coordination.k8s.io", resource), corev1.NamespaceNodeLease
			}
			for _, o := range []api.Object{c.old, c.object} {
				if o != nil {
					a.Name = o.GetName()
				}
			}
			if resource == "pods" || resource == "serviceaccounts" {
				a.Namespace = "shop"
			}
			err := nodeRestriction(t.Context(), a)
			want := ""
			if c.fails != "" {
				want = forbidden(a, errors.New(c.fails)).Error()
			}
			if got := errorText(err); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
			a.User = &auth.User{Name: "system:node:n1"}
			if err := nodeRestriction(t.Context(), a); err != nil {
				t.Error("somebody who only is called like a node:", err)
			}
		})
	}
}
