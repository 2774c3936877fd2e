package apidiff

// identity: who is who, by tokens, by impersonation and by asking.
var identity = []request{
	post("/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`),
	post("/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`).by("alice/devs"),
	post("/apis/authentication.k8s.io/v1/selfsubjectreviews?dryRun=All", `{metadata: {name: x, labels: {a: b}}}`),
	post("/apis/authentication.k8s.io/v1/selfsubjectreviews?dryRun=Some", `{}`),
	post("/apis/authentication.k8s.io/v1/selfsubjectreviews?fieldValidation=Strict", `{what: 1}`),
	get("/apis/authentication.k8s.io/v1/selfsubjectreviews"),
	get("/apis/authentication.k8s.io/v1/selfsubjectreviews/x"),
	remove("/apis/authentication.k8s.io/v1/selfsubjectreviews", ""),
	get("/apis/authentication.k8s.io/v1"),

	impersonating("bob"),
	impersonating("bob").with("Impersonate-Group", "devs").with("Impersonate-Uid", "7").with("Impersonate-Extra-Example.org%2Fx", "1"),
	impersonating("system:anonymous"),
	impersonating("system:serviceaccount:$ns:default"),
	impersonating("system:node:n1"),
	impersonating("bob").with("Impersonate-Group", "system:unauthenticated"),
	impersonating("").with("Impersonate-Group", "devs"),
	impersonating("bob").by("alice/devs"),
	impersonating("system:serviceaccount:default:default").by("alice/devs"),
	impersonating("system:node:n1").by("alice/devs"),
	impersonating("bob").with("Impersonate-Group", "system:masters").by("alice/devs"),
	get("@pods").with("Impersonate-User", "bob").by("alice/devs"),
	get("/version").with("Impersonate-User", "bob").by("alice/devs"),

	post("/apis/authentication.k8s.io/v1/tokenreviews", `{spec: {token: ""}}`),
	post("/apis/authentication.k8s.io/v1/tokenreviews", `{spec: {token: nonsense}}`),
	post("/apis/authentication.k8s.io/v1/tokenreviews", `{spec: {token: a.e30.c}}`),
	get("/version").with("Authorization", "Bearer nonsense").by("anonymous"),
	get("/version").with("Authorization", "Basic nonsense").by("anonymous"),
	get("/version").with("Authorization", "Bearer").by("anonymous"),

	post("@serviceaccounts/default/token", `{}`).as("plain"),
	post("@serviceaccounts/default/token", `{spec: {expirationSeconds: 599}}`),
	post("@serviceaccounts/default/token", `{spec: {expirationSeconds: 4294967297}}`),
	post("@serviceaccounts/nobody/token", `{}`),
	post("@serviceaccounts/default/token", `{metadata: {name: other}}`),
	post("@serviceaccounts/default/token", `{metadata: {namespace: other}}`),
	post("@serviceaccounts/default/token", `{metadata: {uid: 00000000-0000-0000-0000-000000000000}}`),
	post("@serviceaccounts/default/token", `{spec: {boundObjectRef: {kind: Pod, apiVersion: v1, name: none}}}`),
	post("@serviceaccounts/default/token", `{spec: {boundObjectRef: {kind: Service, apiVersion: v1, name: none}}}`),
	post("@serviceaccounts/default/token", `{spec: {audiences: [vault]}}`).as("vault"),
	get("@serviceaccounts/default/token"),
	post("/apis/authentication.k8s.io/v1/tokenreviews", `{spec: {token: "${plain:status.token}"}}`).noted("the token"),
	post("/apis/authentication.k8s.io/v1/tokenreviews", `{spec: {token: "${plain:status.token}", audiences: [vault]}}`).noted("the token, for somebody else"),
	post("/apis/authentication.k8s.io/v1/tokenreviews", `{spec: {token: "${vault:status.token}", audiences: [a, vault]}}`).noted("somebody else's token"),

	post("@serviceaccounts", `{metadata: {name: till}, imagePullSecrets: [{name: registry}]}`),
	post("@serviceaccounts", `{metadata: {name: quiet}, automountServiceAccountToken: false}`),
	post("@pods", `{metadata: {name: nobodys}, spec: {serviceAccountName: nobody, containers: [{name: c, image: i}]}}`),
	post("@pods", `{metadata: {name: till}, spec: {serviceAccountName: till, containers: [{name: c, image: i}], initContainers: [{name: i, image: i}]}}`).as("till"),
	post("@pods", `{metadata: {name: quiet}, spec: {serviceAccountName: quiet, containers: [{name: c, image: i}]}}`),
	post("@pods", `{metadata: {name: mine}, spec: {containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}]}], volumes: [{name: v, emptyDir: {}}]}}`),
	post("@pods", `{metadata: {name: bad}, spec: {automountServiceAccountToken: false, containers: [{name: c, image: i}], volumes: [{name: v, projected: {defaultMode: 4096, sources: [{serviceAccountToken: {path: "../t", expirationSeconds: 1}}, {secret: {name: ""}, configMap: {name: a}}]}}]}}`),
	post("@serviceaccounts/till/token", `{spec: {boundObjectRef: {kind: Pod, apiVersion: v1, name: till}, expirationSeconds: 3607}}`).as("pod"),
	post("@serviceaccounts/default/token", `{spec: {boundObjectRef: {kind: Pod, apiVersion: v1, name: till}}}`),
	post("@serviceaccounts/till/token", `{spec: {boundObjectRef: {kind: Pod, apiVersion: v1, name: till, uid: other}}}`),
	post("/apis/authentication.k8s.io/v1/tokenreviews", `{spec: {token: "${pod:status.token}"}}`).noted("the Pod's token"),

	post("/api/v1/namespaces/kube-system/secrets", `{metadata: {name: bootstrap-token-abcdef}, type: bootstrap.kubernetes.io/token,
		stringData: {token-id: abcdef, token-secret: 0123456789abcdef, usage-bootstrap-authentication: "true", auth-extra-groups: "system:bootstrappers:x"}}`),
	remove("/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef", ""),
	get("/.well-known/openid-configuration"),
}

// impersonating asks who one is who wants to be the user.
func impersonating(user string) request {
	return post("/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`).with("Impersonate-User", user)
}
