package apidiff

// fields: each kind's validation, by mutations of a valid object.
var fields = join(
	mutations("@configmaps", `
metadata: {name: cm, labels: {app: web}, annotations: {note: text}, finalizers: [example.org/x]}
data: {key: value}
binaryData: {bin: AAEC}
immutable: false`),
	mutations("@secrets", `
metadata: {name: s}
type: Opaque
data: {key: dmFsdWU=}
stringData: {other: value}
immutable: true`),
	mutations("@secrets", `
metadata: {name: s, annotations: {kubernetes.io/service-account.name: default}}
type: kubernetes.io/service-account-token`),
	mutations("@secrets", `
metadata: {name: s}
type: kubernetes.io/tls
data: {tls.crt: "", tls.key: ""}`),
	mutations("@secrets", `
metadata: {name: s}
type: kubernetes.io/dockerconfigjson
data: {.dockerconfigjson: e30=}`),
	mutations("@secrets", `
metadata: {name: s}
type: kubernetes.io/basic-auth
data: {username: "", password: ""}`),
	mutations("@serviceaccounts", `
metadata: {name: sa}
automountServiceAccountToken: false
secrets: [{name: a}]
imagePullSecrets: [{name: b}]`),
	mutations("/api/v1/namespaces", `
metadata: {name: some, labels: {a: b}}
spec: {finalizers: [kubernetes]}`),
	mutations("@endpoints", `
metadata: {name: e}
subsets:
- addresses: [{ip: 10.1.2.3, hostname: h, nodeName: node1, targetRef: {kind: Pod, name: p, namespace: x}}]
  notReadyAddresses: [{ip: 10.1.2.4}]
  ports: [{name: http, port: 80, protocol: TCP, appProtocol: http}]`),
	mutations("@discovery.k8s.io/v1/endpointslices", `
metadata: {name: e}
addressType: IPv4
endpoints:
- addresses: [10.1.2.3]
  conditions: {ready: true, serving: true, terminating: false}
  hostname: h
  nodeName: node1
  zone: z
  hints: {forZones: [{name: z}]}
  targetRef: {kind: Pod, name: p}
  deprecatedTopology: {a: b}
ports: [{name: http, port: 80, protocol: TCP, appProtocol: http}]`),
	mutations("@coordination.k8s.io/v1/leases", `
metadata: {name: l}
spec: {holderIdentity: me, leaseDurationSeconds: 10, leaseTransitions: 1, acquireTime: "2020-01-01T00:00:00.000000Z", renewTime: "2020-01-01T00:00:00.000000Z"}`),
	mutations("@events", `
metadata: {name: e}
involvedObject: {kind: Pod, namespace: $ns, name: p, apiVersion: v1, fieldPath: spec, uid: x}
reason: Because
message: it is so
source: {component: test, host: h}
firstTimestamp: "2020-01-01T00:00:00Z"
lastTimestamp: "2020-01-01T00:00:00Z"
count: 1
type: Normal`),
	mutations("@events.k8s.io/v1/events", `
metadata: {name: e}
regarding: {kind: Pod, namespace: $ns, name: p, apiVersion: v1}
reason: Because
note: it is so
action: Acting
reportingController: example.org/test
reportingInstance: test-1
eventTime: "2020-01-01T00:00:00.000000Z"
type: Normal`),
)

var fieldsOfService = join(
	mutations("@services", `
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP, appProtocol: http}, {name: dns, port: 53, targetPort: dns, protocol: UDP}]
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 100}}
  internalTrafficPolicy: Local
  trafficDistribution: PreferClose
  publishNotReadyAddresses: true
  externalIPs: [192.0.2.1]
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: RequireDualStack
  type: ClusterIP`),
	mutations("@services", `
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 80, nodePort: 30011}]
  externalTrafficPolicy: Local
  healthCheckNodePort: 30012
  loadBalancerIP: 192.0.2.7
  loadBalancerSourceRanges: [192.0.2.0/24]
  loadBalancerClass: example.org/lb
  allocateLoadBalancerNodePorts: true
  clusterIP: 10.96.0.77
  clusterIPs: [10.96.0.77]`),
	mutations("@services", `
metadata: {name: web}
spec: {type: ExternalName, externalName: example.org}`),
	mutations("@services", `
metadata: {name: web}
spec: {type: NodePort, ports: [{port: 80}], externalTrafficPolicy: Cluster}`),
	[]request{post("@services", `{metadata: {name: there}, spec: {clusterIP: 10.96.0.78, selector: {app: web}, ports: [{port: 80}]}}`)},
	mutations("@services/there", `
metadata: {name: there}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 80, protocol: TCP}]
  clusterIP: 10.96.0.78
  clusterIPs: [10.96.0.78]
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  sessionAffinity: None
  internalTrafficPolicy: Cluster
  type: ClusterIP`),
)
