package api

import discoveryv1 "k8s.io/api/discovery/v1"

var endpointSlices = define(Kind{
	Versions:   []Version{version[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](discoveryv1.SchemeGroupVersion, "EndpointSlice")},
	Resource:   "endpointslices",
	Singular:   "endpointslice",
	Namespaced: true,
}, Rules[discoveryv1.EndpointSlice]{})
