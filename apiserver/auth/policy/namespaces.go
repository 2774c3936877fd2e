package policy

// namespaceRoles are those that hold in one of the cluster's own namespaces only.
var namespaceRoles = []role{
	{namespace: system, name: "extension-apiserver-authentication-reader", rules: rules{
		rule(read, "core", "configmaps", "extension-apiserver-authentication"),
	}},
	{namespace: system, name: "system:controller:bootstrap-signer", rules: rules{
		rule(read, "core", "secrets"),
	}},
	{namespace: system, name: "system:controller:cloud-provider", rules: rules{
		rule("create get list watch", "core", "configmaps"),
	}},
	{namespace: system, name: "system:controller:token-cleaner", rules: rules{
		rule("delete get list watch", "core", "secrets"),
		events,
	}},
	{namespace: system, name: "system::leader-locking-kube-controller-manager", rules: rules{
		rule("create get list update watch", "coordination.k8s.io", "leases"),
		rule("create get list update watch", "coordination.k8s.io", "leasecandidates"),
	}},
	{namespace: system, name: "system::leader-locking-kube-scheduler", rules: rules{
		rule("create get list update watch", "coordination.k8s.io", "leases"),
		rule("create get list update watch", "coordination.k8s.io", "leasecandidates"),
	}},
	{namespace: public, name: "system:controller:bootstrap-signer", rules: rules{
		rule(read, "core", "configmaps"),
		rule("update", "core", "configmaps", "cluster-info"),
		events,
	}},
}
