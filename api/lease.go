package api

import coordinationv1 "k8s.io/api/coordination/v1"

var leases = define(Kind{
	Versions:   []Version{version[coordinationv1.Lease, coordinationv1.LeaseList](coordinationv1.SchemeGroupVersion, "Lease")},
	Resource:   "leases",
	Singular:   "lease",
	Namespaced: true,
}, Rules[coordinationv1.Lease]{})
