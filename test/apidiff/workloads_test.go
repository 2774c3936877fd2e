package apidiff

// fieldsOfPod: a Pod's validation, by mutations.
var fieldsOfPod = join(
	mutations("@pods", `
metadata: {name: p, labels: {app: web}}
spec:
  automountServiceAccountToken: false
  containers:
  - name: c
    image: nginx
    imagePullPolicy: IfNotPresent
    command: [sh]
    args: [a]
    workingDir: /tmp
    ports: [{name: http, containerPort: 80, protocol: TCP}, {containerPort: 53, protocol: UDP}]
    env:
    - {name: A, value: b}
    - {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: C, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
    - {name: D, valueFrom: {configMapKeyRef: {name: s, key: k}}}
    - {name: E, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: "1"}}}
    envFrom: [{prefix: P_, configMapRef: {name: cm}}, {secretRef: {name: s}}]
    resources: {requests: {cpu: 100m, memory: 10Mi}, limits: {cpu: 200m, memory: 20Mi}}
    volumeMounts: [{name: v, mountPath: /v, subPath: a, readOnly: true}, {name: cm, mountPath: /cm}]
    livenessProbe: {httpGet: {path: /, port: 80, scheme: HTTP, httpHeaders: [{name: a, value: b}]}, initialDelaySeconds: 1, periodSeconds: 2, timeoutSeconds: 1, failureThreshold: 3, successThreshold: 1}
    readinessProbe: {tcpSocket: {port: http}}
    startupProbe: {exec: {command: [a]}}
    lifecycle: {preStop: {exec: {command: [a]}}, postStart: {httpGet: {port: 80}}}
    terminationMessagePath: /x
    terminationMessagePolicy: File
    stdin: true
    securityContext: {runAsUser: 1000, privileged: false, readOnlyRootFilesystem: true}
  initContainers: [{name: i, image: busybox}, {name: side, image: busybox, restartPolicy: Always}]
  volumes:
  - {name: v, emptyDir: {sizeLimit: 1Gi}}
  - {name: cm, configMap: {name: cm, items: [{key: k, path: p, mode: 420}], defaultMode: 420, optional: true}}
  - {name: s, secret: {secretName: s}}
  - {name: h, hostPath: {path: /h, type: Directory}}
  - {name: d, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: j, projected: {sources: [{secret: {name: s}}, {configMap: {name: s}}]}}
  restartPolicy: Always
  terminationGracePeriodSeconds: 10
  activeDeadlineSeconds: 100
  dnsPolicy: ClusterFirst
  nodeSelector: {a: b}
  serviceAccountName: default
  nodeName: ""
  hostNetwork: false
  securityContext: {runAsUser: 1000, runAsNonRoot: true, fsGroup: 1, sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}]}
  imagePullSecrets: [{name: a}]
  hostname: h
  subdomain: d
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]}}}
  schedulerName: default-scheduler
  tolerations: [{key: a, operator: Equal, value: b, effect: NoExecute, tolerationSeconds: 10}]
  hostAliases: [{ip: 127.0.0.1, hostnames: [a]}]
  priorityClassName: ""
  dnsConfig: {nameservers: [10.0.0.1], searches: [a.b], options: [{name: ndots, value: "5"}]}
  readinessGates: [{conditionType: a.b/c}]
  enableServiceLinks: true
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}]`),
	[]request{post("@pods", `{metadata: {name: there}, spec: {automountServiceAccountToken: false, containers: [{name: c, image: nginx}]}}`)},
	mutations("@pods/there", `
metadata: {name: there, labels: {a: b}}
spec:
  automountServiceAccountToken: false
  containers: [{name: c, image: "nginx:2", imagePullPolicy: Always, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}]
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  preemptionPolicy: PreemptLowerPriority
  priority: 0
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  serviceAccount: default
  serviceAccountName: default
  terminationGracePeriodSeconds: 30
  tolerations:
  - {effect: NoExecute, key: node.kubernetes.io/not-ready, operator: Exists, tolerationSeconds: 300}
  - {effect: NoExecute, key: node.kubernetes.io/unreachable, operator: Exists, tolerationSeconds: 300}`),
)

const template = `{metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: nginx}]}}`

// fieldsOfWorkloads: what makes Pods, where they run, and what is around Services.
var fieldsOfWorkloads = join(
	mutations("@apps/v1/deployments", `
metadata: {name: d}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}, matchExpressions: [{key: app, operator: In, values: [web]}]}
  template: `+template+`
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 1}}
  minReadySeconds: 1
  revisionHistoryLimit: 5
  progressDeadlineSeconds: 100
  paused: true`),
	[]request{post("@apps/v1/deployments", `{metadata: {name: there}, spec: {selector: {matchLabels: {app: web}}, template: `+template+`}}`)},
	mutations("@apps/v1/deployments/there", `{metadata: {name: there, labels: {a: b}}, spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: `+template+`}}`),
	mutations("@apps/v1/replicasets", `
metadata: {name: r}
spec: {replicas: 2, minReadySeconds: 1, selector: {matchLabels: {app: web}}, template: `+template+`}`),
	mutations("/api/v1/nodes", `
metadata: {name: node-x, labels: {zone: a}}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24], providerID: x, unschedulable: true, taints: [{key: a, value: b, effect: NoSchedule}]}
status: {capacity: {cpu: "1", pods: "10"}, addresses: [{type: InternalIP, address: 172.30.0.9}], conditions: [{type: Ready, status: "True"}]}`),
	mutations("@networking.k8s.io/v1/ingresses", `
metadata: {name: i}
spec:
  ingressClassName: c
  defaultBackend: {service: {name: web, port: {number: 80}}}
  tls: [{hosts: [a.b], secretName: s}]
  rules: [{host: a.b, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]`),
	mutations("/apis/networking.k8s.io/v1/ingressclasses", `
metadata: {name: ic}
spec: {controller: example.org/c, parameters: {apiGroup: example.org, kind: K, name: x, scope: Namespace, namespace: z}}`),
	mutations("@networking.k8s.io/v1/networkpolicies", `
metadata: {name: np}
spec:
  podSelector: {matchLabels: {a: b}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{protocol: TCP, port: 80, endPort: 90}]}]
  egress: [{to: [{namespaceSelector: {matchLabels: {a: b}}}]}]`),
	mutations("/apis/scheduling.k8s.io/v1/priorityclasses", `
{metadata: {name: pc}, value: 100, globalDefault: false, description: text, preemptionPolicy: Never}`),
	mutations("@policy/v1/poddisruptionbudgets", `
metadata: {name: pdb}
spec: {minAvailable: 1, selector: {matchLabels: {a: b}}, unhealthyPodEvictionPolicy: AlwaysAllow}`),
	mutations("@rbac.authorization.k8s.io/v1/roles", `
{metadata: {name: r}, rules: [{verbs: [get], apiGroups: [""], resources: [pods], resourceNames: [a]}]}`),
	mutations("/apis/rbac.authorization.k8s.io/v1/clusterroles", `
metadata: {name: cr}
rules: [{verbs: [get], apiGroups: [""], resources: [pods]}, {verbs: [get], nonResourceURLs: [/x]}]
aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]}`),
	mutations("@rbac.authorization.k8s.io/v1/rolebindings", `
metadata: {name: rb}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}
subjects: [{kind: User, name: u, apiGroup: rbac.authorization.k8s.io}, {kind: ServiceAccount, name: s, namespace: z}]`),
	mutations("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `
metadata: {name: crb}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}
subjects: [{kind: Group, name: u, apiGroup: rbac.authorization.k8s.io}]`),
)
