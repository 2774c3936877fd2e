package policy

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/api"
)

// binding is a RoleBinding, or a ClusterRoleBinding where it has no namespace.
type binding struct {
	namespace, name string
	kind, role      string
	subjects        []rbacv1.Subject
}

const controllerPrefix = "system:controller:"

const (
	cluster = "ClusterRole"
	local   = "Role"

	system = "kube-system"
	public = "kube-public"
)

// bindings gives the roles to people and components; a controller's role is bound to the
// account of its name (Objects).
//
// The binding system:node is empty: what a node may do depends on the node, which a role
// cannot say (auth/node can).
var bindings = []binding{
	{"", "cluster-admin", cluster, "cluster-admin", groups("system:masters")},
	{"", "system:monitoring", cluster, "system:monitoring", groups("system:monitoring")},
	{"", "system:discovery", cluster, "system:discovery", groups("system:authenticated")},
	{"", "system:basic-user", cluster, "system:basic-user", groups("system:authenticated")},
	{"", "system:public-info-viewer", cluster, "system:public-info-viewer", groups("system:authenticated", "system:unauthenticated")},
	{"", "system:node-proxier", cluster, "system:node-proxier", users("system:kube-proxy")},
	{"", "system:kube-controller-manager", cluster, "system:kube-controller-manager", users("system:kube-controller-manager")},
	{"", "system:kube-dns", cluster, "system:kube-dns", accounts("kube-dns")},
	{"", "system:kube-scheduler", cluster, "system:kube-scheduler", users("system:kube-scheduler")},
	{"", "system:volume-scheduler", cluster, "system:volume-scheduler", users("system:kube-scheduler")},
	{"", "system:node", cluster, "system:node", nil},
	{"", "system:service-account-issuer-discovery", cluster, "system:service-account-issuer-discovery", groups("system:serviceaccounts")},
	{"", "system:cluster-trust-bundle-discovery", cluster, "system:cluster-trust-bundle-discovery", groups("system:serviceaccounts")},

	{system, "system::extension-apiserver-authentication-reader", local, "extension-apiserver-authentication-reader",
		users("system:kube-controller-manager", "system:kube-scheduler")},
	{system, "system::leader-locking-kube-controller-manager", local, "system::leader-locking-kube-controller-manager",
		append(users("system:kube-controller-manager"), accounts("kube-controller-manager", "leader-election-controller")...)},
	{system, "system::leader-locking-kube-scheduler", local, "system::leader-locking-kube-scheduler",
		append(users("system:kube-scheduler"), accounts("kube-scheduler")...)},
	{system, "system:controller:bootstrap-signer", local, "system:controller:bootstrap-signer", accounts("bootstrap-signer")},
	{system, "system:controller:cloud-provider", local, "system:controller:cloud-provider", accounts("cloud-provider")},
	{system, "system:controller:token-cleaner", local, "system:controller:token-cleaner", accounts("token-cleaner")},
	{public, "system:controller:bootstrap-signer", local, "system:controller:bootstrap-signer", accounts("bootstrap-signer")},
}

func users(names ...string) []rbacv1.Subject  { return subjects(rbacv1.UserKind, names) }
func groups(names ...string) []rbacv1.Subject { return subjects(rbacv1.GroupKind, names) }

func subjects(kind string, names []string) []rbacv1.Subject {
	var all []rbacv1.Subject
	for _, n := range names {
		all = append(all, rbacv1.Subject{Kind: kind, APIGroup: rbacv1.GroupName, Name: n})
	}
	return all
}

// accounts are service accounts in kube-system.
func accounts(names ...string) []rbacv1.Subject {
	var all []rbacv1.Subject
	for _, n := range names {
		all = append(all, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: system, Name: n})
	}
	return all
}

func (b binding) object() api.Object {
	meta := metav1.ObjectMeta{Namespace: b.namespace, Name: b.name}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: b.kind, Name: b.role}
	who := append([]rbacv1.Subject(nil), b.subjects...)
	if b.namespace != "" {
		return &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: who}
	}
	return &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: who}
}
