package apidiff

// services: types, families, allocation.
var services = []request{
	post("@services", `{metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}`).as("web"),
	get("@services/web"),
	get("@services").table(),
	post("@services", `{metadata: {name: same}, spec: {clusterIP: "${web:spec.clusterIP}", ports: [{port: 80}]}}`),
	post("@services", `{metadata: {name: headless}, spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}}`),
	post("@services", `{metadata: {name: headless-selectorless}, spec: {clusterIP: None}}`),
	post("@services", `{metadata: {name: node}, spec: {type: NodePort, ports: [{port: 80, nodePort: 30001}]}}`),
	post("@services", `{metadata: {name: node2}, spec: {type: NodePort, ports: [{port: 80, nodePort: 30001}]}}`),
	post("@services", `{metadata: {name: node3}, spec: {type: NodePort, ports: [{port: 80, nodePort: 80}]}}`),
	post("@services", `{metadata: {name: external}, spec: {type: ExternalName, externalName: example.org}}`),
	post("@services", `{metadata: {name: external2}, spec: {type: ExternalName}}`),
	post("@services", `{metadata: {name: lb}, spec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}}`),
	post("@services", `{metadata: {name: dual}, spec: {ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}}`),
	post("@services", `{metadata: {name: six}, spec: {ipFamilies: [IPv6], ports: [{port: 80}]}}`),
	get("@services").table(),
}
