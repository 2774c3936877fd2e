package api

import authenticationv1 "k8s.io/api/authentication/v1"

// selfSubjectReviews ask who the API server takes the client for: kubectl auth whoami.
var selfSubjectReviews = define(Kind{
	Versions: []Version{asked[authenticationv1.SelfSubjectReview](authenticationv1.SchemeGroupVersion, "SelfSubjectReview")},
	Resource: "selfsubjectreviews",
	Singular: "selfsubjectreview",
}, Rules[authenticationv1.SelfSubjectReview]{})
