package api

import authenticationv1 "k8s.io/api/authentication/v1"

// tokenReviews ask whose a bearer token is: servers that are not the API server do.
var tokenReviews = define(Kind{
	Versions: []Version{asked[authenticationv1.TokenReview](authenticationv1.SchemeGroupVersion, "TokenReview")},
	Resource: "tokenreviews",
	Singular: "tokenreview",
}, Rules[authenticationv1.TokenReview]{})
