package apidiff

var applies = []request{
	apply("@configmaps/a?fieldManager=one", `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "1"}}`),
	apply("@configmaps/a?fieldManager=two", `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "2"}}`),
	apply("@configmaps/a?fieldManager=two&force=true", `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "2"}}`),
	apply("@configmaps/a?fieldManager=two", `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {}}`),
	apply("@configmaps/a", `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {}}`),
	apply("@configmaps/a?fieldManager=two", `{metadata: {name: a}, data: {}}`),
	apply("@services/web?fieldManager=two", `{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}`),
}
