package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
)

func aPod(name, node string, volumes ...corev1.VolumeSource) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1"}}
	p.Spec.NodeName, p.Spec.ServiceAccountName = node, name+"-account"
	for _, v := range volumes {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: v})
	}
	return p
}

func ref(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

// everywhere names a Secret or ConfigMap in each place a Pod can.
func everywhere() *corev1.Pod {
	p := aPod("web", "n1",
		corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "volume"}},
		corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: ref("volume")}},
		corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: ref("projected")}}, {ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: ref("projected")}}}}},
		corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}},
		corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: &corev1.LocalObjectReference{Name: "csi"}}})
	p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{ref("pull")}
	p.Spec.InitContainers = []corev1.Container{{Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("env")}}}}}}
	p.Spec.Containers = []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref("env")}}}}}
	return p
}

func TestAuthorize(t *testing.T) {
	z := New()
	mirror := aPod("etcd", "n1", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "stolen"}})
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	z.Replace([]api.Object{everywhere(), mirror, aPod("db", "n2", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "db"}})})
	const unrelated = "no relationship found between node 'n1' and this object"
	for _, c := range []struct{ ask, reason string }{ // verb group/resource[/subresource] namespace/name [selector]
		{"get /secrets shop/volume", "yes"}, {"watch /secrets shop/projected", "yes"}, {"list /secrets shop/pull", "yes"}, {"get /secrets shop/env", "yes"}, {"get /secrets shop/csi", "yes"},
		{"get /configmaps shop/volume", "yes"}, {"get /configmaps shop/projected", "yes"}, {"get /configmaps shop/env", "yes"},
		{"get /persistentvolumeclaims shop/claim", "yes"}, {"patch /persistentvolumeclaims/status shop/claim", "yes"},
		{"get /secrets shop/db", unrelated}, {"get /secrets shop/stolen", unrelated}, {"get /secrets other/volume", unrelated}, {"get /configmaps shop/csi", unrelated},
		{"list /secrets shop/", "No Object name found"}, {"list /secrets /", "can only read namespaced object of this type"}, {"update /secrets shop/volume", "can only read resources of this type"},
		{"get /serviceaccounts shop/web-account", "yes"}, {"create /serviceaccounts/token shop/web-account", "yes"},
		{"create /serviceaccounts/token shop/db-account", unrelated}, {"create /serviceaccounts/token shop/etcd-account", unrelated},
		{"create /serviceaccounts/token shop/", "can only create tokens for individual service accounts"}, {"create /serviceaccounts shop/x", "can only create token subresource of serviceaccount"},
		{"get /pods shop/web", "yes"}, {"get /pods shop/etcd", "yes"}, {"get /pods shop/db", unrelated}, {"create /pods shop/", "yes"}, {"delete /pods shop/db", "yes"},
		{"patch /pods/status shop/web", "yes"}, {"update /pods shop/web", ""}, {"get /pods/log shop/web", ""}, {"create /pods/eviction shop/web", "yes"}, {"create /pods/exec shop/web", ""},
		{"list /pods / spec.nodeName=n1", "yes"}, {"watch /pods / spec.nodeName=n1,status.phase!=Failed", "yes"}, {"watch /pods / spec.nodeName!=n1", "can only list/watch pods with spec.nodeName field selector"},
		{"list /pods / spec.nodeName=n2", "can only list/watch pods with spec.nodeName field selector"}, {"list /pods shop/web", "yes"},
		{"get /nodes /n1", "yes"}, {"watch /nodes /n1", "yes"}, {"get /nodes /n2", "node 'n1' cannot read 'n2', only its own Node object"},
		{"list /nodes /", "node 'n1' cannot read all nodes, only its own Node object"}, {"patch /nodes/status /n1", "yes"}, {"delete /nodes /n1", ""}, {"get /nodes/proxy /n1", ""},
		{"update coordination.k8s.io/leases kube-node-lease/n1", "yes"}, {"create coordination.k8s.io/leases kube-node-lease/", "yes"},
		{"get coordination.k8s.io/leases kube-node-lease/n2", "can only access node lease with the same name as the requesting node"},
		{"get coordination.k8s.io/leases kube-system/n1", `can only access leases in the "kube-node-lease" system namespace`},
		{"list coordination.k8s.io/leases kube-node-lease/", "can only get, create, update, patch, or delete a node lease"},
		{"watch /services /", "yes"}, {"create events.k8s.io/events shop/", "yes"}, {"create certificates.k8s.io/certificatesigningrequests /", "yes"}, {"create apps/deployments shop/", ""},
		{"get resource.k8s.io/resourceclaims shop/x", unrelated}, {"create resource.k8s.io/resourceslices /", "yes"}, {"list resource.k8s.io/resourceslices / spec.nodeName=n1", "yes"},
		{"get storage.k8s.io/csinodes /n1", "yes"}, {"get storage.k8s.io/csinodes /n2", "can only access CSINode with the same name as the requesting node"},
	} {
		f := strings.Fields(c.ask)
		what, where := strings.Split(f[1], "/"), strings.Split(f[2], "/")
		a := auth.Attributes{User: &auth.User{Name: "system:node:n1", Groups: []string{"system:nodes"}}, Verb: f[0], Group: what[0], Resource: what[1], Namespace: where[0], Name: where[1]}
		if len(what) > 2 {
			a.Subresource = what[2]
		}
		if len(f) > 3 {
			a.FieldSelector = fields.ParseSelectorOrDie(f[3]).Requirements()
		}
		allowed, reason, err := z.Authorize(t.Context(), a)
		if allowed {
			reason += "yes"
		}
		if reason != c.reason || err != nil {
			t.Errorf("%s: %q, want %q", c.ask, reason, c.reason)
		}
	}
}

func TestName(t *testing.T) {
	for _, c := range []struct {
		user, group, name string
		node              bool
	}{
		{"system:node:n1", "system:nodes", "n1", true},
		{"system:node:n1", "others", "n1", false},
		{"system:node:", "system:nodes", "", true},
		{"n1", "system:nodes", "", false},
	} {
		if name, node := Name(&auth.User{Name: c.user, Groups: []string{c.group}}); node != c.node || node && name != c.name {
			t.Errorf("%s of %s: %q %v", c.user, c.group, name, node)
		}
	}
}

// TestGraph: however Pods come and go, what is left reaches what it needs and no more.
func TestGraph(t *testing.T) {
	g := &Graph{}
	g.Replace(nil)
	secret := vertex{secrets, "shop", "s"}
	of := func(name, node string) *corev1.Pod {
		return aPod(name, node, corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}})
	}
	expect := func(step string, n1, n2 bool) {
		t.Helper()
		if g.reaches(secret, "n1") != n1 || g.reaches(secret, "n2") != n2 {
			t.Errorf("%s: %v", step, g.nodes[secret])
		}
	}
	waiting, a, b, elsewhere := of("a", ""), of("a", "n1"), of("b", "n1"), of("c", "n2")
	g.Change(nil, waiting)
	expect("not bound", false, false)
	g.Change(waiting, a)
	expect("bound", true, false)
	g.Change(nil, b)
	g.Change(nil, elsewhere)
	g.Change(a, nil)
	expect("another of the same node", true, true)
	again := of("b", "n2")
	again.UID = "2"
	g.Change(b, again)
	expect("made anew elsewhere", false, true)
	g.Change(again, nil)
	g.Change(elsewhere, nil)
	if len(g.nodes) != 0 {
		t.Errorf("left of nothing: %v", g.nodes)
	}
}
