package api

// Table lists every kind the cluster knows. Discovery shows them sorted, as upstream does.
// Adding a kind is one file and one row here.
var Table = []*Kind{
	bindings,
	configMaps,
	endpoints,
	events,
	namespaces,
	nodes,
	pods,
	secrets,
	serviceAccounts,
	services,
	selfSubjectReviews,
	localSubjectAccessReviews,
	selfSubjectAccessReviews,
	selfSubjectRulesReviews,
	subjectAccessReviews,
	tokenReviews,
	deployments,
	replicaSets,
	certificateSigningRequests,
	ipAddresses,
	serviceCIDRs,
	leases,
	endpointSlices,
	nodeUsage,
	podUsage,
	ingresses,
	ingressClasses,
	networkPolicies,
	podDisruptionBudgets,
	priorityClasses,
	clusterRoleBindings,
	clusterRoles,
	roleBindings,
	roles,
}

// ByResource finds a row by group and plural name, or nil.
func ByResource(group, resource string) *Kind {
	for _, k := range Table {
		for _, v := range k.Versions {
			if v.Group == group && k.Resource == resource {
				return k
			}
		}
	}
	return nil
}
