package policy

// What kubeadm and the add-ons of a cluster bring along upstream. It is written like the
// rest, but is nobody's default: there is no label on it.

const joining = "system:bootstrappers:kubeadm:default-node-token" // the group of who has kubeadm's token

var addonRoles = []role{
	{name: "kubeadm:get-nodes", rules: rules{ // who joins looks whether a node of his name is there
		rule("get", "core", "nodes"),
	}},
	{namespace: public, name: "kubeadm:bootstrap-signer-clusterinfo", rules: rules{
		rule("get", "core", "configmaps", "cluster-info"),
	}},
	{name: "system:coredns", rules: rules{
		rule("list watch", "core", "endpoints services pods namespaces"),
		rule("get", "core", "nodes"),
		rule("list watch", "discovery.k8s.io", "endpointslices"),
	}},
	{name: "orrery:ip-address-controller", rules: rules{ // a part of the API server upstream
		rule(read, "core", "services"),
		rule("create delete get list patch update watch", "networking.k8s.io", "ipaddresses"),
		events,
	}},
	{name: "orrery:kubelet-serving-approver", rules: rules{ // nobody upstream: docs/decisions/0007
		rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving"),
	}},
	{name: "system:aggregated-metrics-reader", partOf: "view", rules: rules{ // metrics-server's
		rule("get list watch", "metrics.k8s.io", "nodes pods"),
	}},
	{name: "orrery:fake-nodes", rules: rules{ // the agent of many nodes: kwok's role upstream
		rule("create get list patch watch", "core", "nodes"),
		rule("delete get list watch", "core", "pods"),
		rule("patch", "core", "nodes/status pods/status"),
		rule("create patch", "coordination.k8s.io", "leases"),
		events,
	}},
	{name: "orrery:pod-network", rules: rules{ // routes to the Pods of all nodes: flannel's role upstream
		rule(read, "core", "nodes"),
	}},
}

var addonBindings = []binding{
	{"", "kubeadm:get-nodes", cluster, "kubeadm:get-nodes", groups(joining)},
	{"", "kubeadm:kubelet-bootstrap", cluster, "system:node-bootstrapper", groups(joining)},
	{"", "kubeadm:node-autoapprove-bootstrap", cluster, "system:certificates.k8s.io:certificatesigningrequests:nodeclient", groups(joining)},
	{"", "kubeadm:node-autoapprove-certificate-rotation", cluster, "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", groups("system:nodes")},
	{public, "kubeadm:bootstrap-signer-clusterinfo", local, "kubeadm:bootstrap-signer-clusterinfo", users("system:anonymous")},
	{"", "system:coredns", cluster, "system:coredns", accounts("coredns")},
	{"", "orrery:ip-address-controller", cluster, "orrery:ip-address-controller", accounts("ip-address-controller")},
	{"", "orrery:kubelet-serving-approver", cluster, "orrery:kubelet-serving-approver", accounts("certificate-controller")},
	{"", "orrery:fake-nodes", cluster, "orrery:fake-nodes", accounts("fake-nodes")},
	{"", "orrery:fake-nodes:delegator", cluster, "system:auth-delegator", accounts("fake-nodes")},
	{"", "orrery:pod-network", cluster, "orrery:pod-network", accounts("pod-network")},

	// Ours: the load balancer in front of the nodes, which upstream is the cloud's.
	{"", "orrery:load-balancer", cluster, "system:node-proxier", users("system:load-balancer")},
}
