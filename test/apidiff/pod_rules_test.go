package apidiff

import "strings"

// rulesOfPod are Pods that break rules which a valid Pod's mutations don't reach. Each
// line is a part of the spec.
var rulesOfPod = join(
	podsWith(`
affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {a: b}}}]}}
affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{}]}}
affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {a: Not_Valid!}}, namespaceSelector: {matchExpressions: [{key: a, operator: Out}]}}]}}
affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, podAffinityTerm: {topologyKey: zone, namespaces: [Not_Valid!]}}]}}
affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, podAffinityTerm: {topologyKey: zone, labelSelector: {}}}]}}
affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {a: b}}, matchLabelKeys: [app], mismatchLabelKeys: [tier]}]}}
affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {app: b}}, matchLabelKeys: [app], mismatchLabelKeys: [app]}]}}
affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, matchLabelKeys: [app]}]}}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [a, b]}, {key: metadata.uid, operator: Exists}]}]}}}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists, values: [b]}, {key: a, operator: Gt, values: ["1", "2"]}]}]}}}
affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {matchExpressions: [{key: beta.kubernetes.io/os, operator: In, values: [Not_Valid!]}]}}]}}
affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: beta.kubernetes.io/os, operator: In, values: [Not_Valid!]}]}}]}}
nodeSelector: {beta.kubernetes.io/arch: amd64, node-role.kubernetes.io/master: ""}
topologySpreadConstraints: [{maxSkew: 0, whenUnsatisfiable: Never}]
topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway, minDomains: 0, nodeAffinityPolicy: A, nodeTaintsPolicy: B, labelSelector: {}}]
topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}, {maxSkew: 2, topologyKey: z, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}]
topologySpreadConstraints: [{maxSkew: 1, topologyKey: failure-domain.beta.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [app], labelSelector: {matchLabels: {a: b}}}]
topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [app, "Not Valid"], labelSelector: {matchLabels: {app: web}}}]
`),
	podsWith(`
securityContext: {runAsUser: -1, runAsGroup: -1, fsGroup: -1, supplementalGroups: [1, -1], fsGroupChangePolicy: Never, supplementalGroupsPolicy: X, seLinuxChangePolicy: Y}
securityContext: {seccompProfile: {type: ""}}
securityContext: {seccompProfile: {type: Localhost}, appArmorProfile: {type: Localhost}}
securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../x}, appArmorProfile: {type: Localhost, localhostProfile: " x"}}
securityContext: {seccompProfile: {type: RuntimeDefault, localhostProfile: x}, appArmorProfile: {type: RuntimeDefault, localhostProfile: x}}
securityContext: {seccompProfile: {type: X}, appArmorProfile: {type: X}}
securityContext: {sysctls: [{name: net.core.somaxconn, value: "1"}, {name: kernel.shmmax, value: "1"}]}, hostNetwork: true, hostIPC: true
securityContext: {sysctls: [{name: A}, {name: net/ipv4/ip_forward, value: "1"}]}, hostNetwork: true
securityContext: {windowsOptions: {gmsaCredentialSpecName: Not_Valid!, gmsaCredentialSpec: "", runAsUserName: "a\\b\\c"}}
securityContext: {windowsOptions: {runAsUserName: "a?b\\"}}
securityContext: {windowsOptions: {hostProcess: true}}
securityContext: {windowsOptions: {}}, os: {name: linux}
securityContext: {fsGroup: 1}, os: {name: windows}, hostPID: true
os: {name: plan9}
os: {}
shareProcessNamespace: true, hostPID: true
hostUsers: false, hostNetwork: true, hostPID: true, hostIPC: true
hostnameOverride: Not_Valid!, hostNetwork: true, setHostnameAsFQDN: true
resourceClaims: [{name: a}, {name: a, resourceClaimName: x}, {name: b, resourceClaimName: x, resourceClaimTemplateName: y}, {resourceClaimName: Not_Valid!}]
resources: {requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 1, ephemeral-storage: 1Gi}}
resources: {limits: {cpu: 2}}
resources: {requests: {cpu: 50m}, claims: [{name: x}]}
overhead: {cpu: -1, disk: 1}
imagePullSecrets: [{name: a}, {name: a}, {}]
`),
	containersWith(`
securityContext: {allowPrivilegeEscalation: false, privileged: true}
securityContext: {allowPrivilegeEscalation: false, capabilities: {add: [CAP_SYS_ADMIN]}}
securityContext: {procMount: Unmasked}
securityContext: {procMount: X, runAsUser: -1, runAsGroup: -1, seccompProfile: {type: X}}
securityContext: {windowsOptions: {runAsUserName: "..."}}
resources: {limits: {hugepages-2Mi: 3Mi}}
resources: {requests: {hugepages-2Mi: 2Mi, example.org/gpu: 1}}
resources: {limits: {example.org/gpu: 2}, requests: {example.org/gpu: 1}}
resources: {claims: [{name: none}, {}]}
resources: {limits: {requests.example.org/gpu: 2}}
resources: {limits: {storage: 2}}
volumeMounts: [{name: none, mountPath: ""}, {name: v, mountPath: /a, subPath: /b, subPathExpr: ../c}]
volumeMounts: [{name: v, mountPath: /a, mountPropagation: Bidirectional}]
volumeMounts: [{name: v, mountPath: /a, mountPropagation: X, recursiveReadOnly: Y}]
volumeMounts: [{name: v, mountPath: /a, recursiveReadOnly: Enabled, mountPropagation: HostToContainer}]
volumeDevices: [{name: v, devicePath: /a}, {name: none, devicePath: ../b}, {}], volumeMounts: [{name: v, mountPath: /a}]
ports: [{name: a, containerPort: 80}, {containerPort: 80}]
`),
	volumesOf(`
nfs: {}
nfs: {server: s, path: a}
gitRepo: {repository: "", directory: /x}
gitRepo: {repository: a}
gcePersistentDisk: {partition: 256}
awsElasticBlockStore: {partition: 256}
iscsi: {lun: 256, discoveryCHAPAuth: true}
iscsi: {targetPortal: a, iqn: other, initiatorName: iqn.bad}
iscsi: {targetPortal: `+strings.Repeat("a", 70)+`, iqn: "iqn.2001-04.com.example:storage.kube.sys1.xyz", initiatorName: "iqn.2001-04.com.example:a"}
glusterfs: {}
glusterfs: {endpoints: a, path: b}
flocker: {}
flocker: {datasetName: a/b, datasetUUID: c}
persistentVolumeClaim: {}
persistentVolumeClaim: {claimName: p-v}
rbd: {}
rbd: {monitors: [a], image: b}
cinder: {secretRef: {}}
cephfs: {}
cephfs: {monitors: [a]}
quobyte: {}
quobyte: {registry: a, volume: b}
fc: {}
fc: {targetWWNs: [a], wwids: [b]}
fc: {targetWWNs: [a], lun: 256}
flexVolume: {options: {kubernetes.io/a: b, x.k8s.io/a: b}}
azureFile: {}
azureDisk: {kind: X, cachingMode: Y}
azureDisk: {diskName: a, diskURI: b, kind: Managed}
azureDisk: {diskName: a, diskURI: b}
vsphereVolume: {}
photonPersistentDisk: {}
portworxVolume: {}
storageos: {secretRef: {}, volumeNamespace: Not_Valid!}
scaleIO: {}
csi: {}
csi: {driver: Not_Valid!, nodePublishSecretRef: {}}
csi: {driver: a, nodePublishSecretRef: {name: Not_Valid!}}
ephemeral: {}
ephemeral: {volumeClaimTemplate: {metadata: {name: a}, spec: {}}}
ephemeral: {volumeClaimTemplate: {spec: {accessModes: [X, ReadWriteOncePod, ReadWriteOnce], storageClassName: Not_Valid!, volumeMode: Y, resources: {requests: {storage: 0}}, dataSource: {name: a, kind: b}, dataSourceRef: {name: a, kind: PersistentVolumeClaim}}}}
image: {pullPolicy: X}
image: {reference: a}
emptyDir: {sizeLimit: -1}, hostPath: {path: /x}, nfs: {server: a, path: /b}
downwardAPI: {items: [{path: ../x, fieldRef: {fieldPath: spec.nodeName}}, {path: a, resourceFieldRef: {resource: limits.cpu}}, {path: ..b}]}
downwardAPI: {items: [{path: a/b, fieldRef: {fieldPath: metadata.name}}, {path: a, fieldRef: {fieldPath: metadata.name}}]}
projected: {sources: [{configMap: {name: a, items: [{key: k, path: a}]}}, {secret: {name: s, items: [{key: k, path: a/b}]}}, {}]}
projected: {sources: [{downwardAPI: {items: [{path: a}]}}, {serviceAccountToken: {path: ../a, expirationSeconds: 1}}]}
`),
	[]request{
		post("@events.k8s.io/v1/events", event(`reason: Because`)),
		put("@events.k8s.io/v1/events/e", event(`reason: Other`)),
		put("@events.k8s.io/v1/events/e", event(`reason: Because, series: {count: 1}`)),
		put("@events.k8s.io/v1/events/e", event(`reason: Because, series: {count: 2, lastObservedTime: "2020-01-01T00:00:01.000000Z"}`)),
		post("@events.k8s.io/v1/events", strings.Replace(event(`reason: Because, deprecatedCount: 1, deprecatedSource: {component: x}`), `"e"`, `"f"`, 1)),
	},
)

// podsWith makes a dry run of each line, beside a container.
func podsWith(specs string) []request {
	return lines(specs, func(spec string) string { return `containers: [{name: c, image: nginx}], ` + spec })
}

func containersWith(specs string) []request {
	return lines(specs, func(spec string) string {
		return `volumes: [{name: v, emptyDir: {}}], containers: [{name: c, image: nginx, ` + spec + `}]`
	})
}

func volumesOf(specs string) []request {
	return lines(specs, func(spec string) string {
		return `containers: [{name: c, image: nginx}], volumes: [{name: v, ` + spec + `}]`
	})
}

func lines(specs string, spec func(string) string) []request {
	var requests []request
	for line := range strings.Lines(strings.TrimSpace(specs)) {
		line = strings.TrimSpace(line)
		body := `{metadata: {name: p, labels: {app: web}}, spec: {automountServiceAccountToken: false, ` + spec(line) + `}}`
		requests = append(requests, post("@pods?dryRun=All", body).noted(line))
	}
	return requests
}

func event(fields string) string {
	return toJSON(`{metadata: {name: e}, regarding: {kind: Pod, namespace: $ns, name: p}, note: it is so, action: Acting,
  reportingController: example.org/test, reportingInstance: test-1, eventTime: "2020-01-01T00:00:00.000000Z", type: Normal, ` + fields + `}`)
}
