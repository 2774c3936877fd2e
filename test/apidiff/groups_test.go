package apidiff

// groups are all that is asked.
var groups = []group{
	{"verbs", verbs},
	{"services", services},
	{"patches", patches},
	{"apply", applies},
	{"lists", lists},
	{"paths", paths},
	{"identity", identity},
	{"access", access},
	{"life", life()},
	{"subresources", subresources},
	{"bodies", bodies},
	{"fields", fields},
	{"fields-of-service", fieldsOfService},
	{"fields-of-pod", fieldsOfPod},
	{"rules-of-pod", rulesOfPod},
	{"fields-of-workloads", fieldsOfWorkloads},
}
