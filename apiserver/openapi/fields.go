package openapi

import (
	"iter"
	"reflect"
	"strings"
)

// jsonField is a struct field as encoding/json sees it.
type jsonField struct {
	reflect.StructField
	name     string
	inline   bool // its fields appear in place of it
	optional bool // may be missing from JSON
}

// fields yields the fields of struct t that appear in JSON.
func fields(t reflect.Type) iter.Seq[jsonField] {
	return func(yield func(jsonField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" || !f.IsExported() {
				continue
			}
			inline := f.Anonymous && name == ""
			if name == "" {
				name = f.Name
			}
			optional := strings.Contains(options, "omit") // omitempty, omitzero
			if !yield(jsonField{f, name, inline, optional}) {
				return
			}
		}
	}
}

// required tells which fields of k8s.io/api are required where it is a comment
// (+optional, +required) that says so, against what the json tag suggests.
// TestRequired reads the comments of the sources and compares.
var required = map[string]bool{
	"core.v1.TypedObjectReference.apiGroup":                    false,
	"core.v1.AzureFilePersistentVolumeSource.secretNamespace":  false,
	"core.v1.PodCertificateProjection.signerName":              true,
	"core.v1.PodCertificateProjection.keyType":                 true,
	"core.v1.ProjectedVolumeSource.sources":                    false,
	"core.v1.GRPCAction.service":                               false,
	"core.v1.ImageVolumeStatus.imageRef":                       true,
	"core.v1.ContainerRestartRule.action":                      true,
	"core.v1.ContainerRestartRuleOnExitCodes.operator":         true,
	"core.v1.NodeRuntimeHandler.name":                          false,
	"core.v1.ContainerImage.names":                             false,
	"core.v1.TypedLocalObjectReference.apiGroup":               false,
	"core.v1.Event.reportingComponent":                         false,
	"core.v1.Event.reportingInstance":                          false,
	"apps.v1.StatefulSet.spec":                                 true,
	"apps.v1.StatefulSetOrdinals.start":                        false,
	"apps.v1.StatefulSetSpec.serviceName":                      false,
	"apps.v1.StatefulSetStatus.availableReplicas":              false,
	"apps.v1.StatefulSetCondition.type":                        false,
	"apps.v1.StatefulSetCondition.status":                      false,
	"apps.v1.Deployment.spec":                                  true,
	"apps.v1.DeploymentCondition.type":                         false,
	"apps.v1.DeploymentCondition.status":                       false,
	"apps.v1.DaemonSetCondition.type":                          false,
	"apps.v1.DaemonSetCondition.status":                        false,
	"apps.v1.DaemonSet.spec":                                   true,
	"apps.v1.ReplicaSet.spec":                                  true,
	"apps.v1.ReplicaSetCondition.type":                         false,
	"apps.v1.ReplicaSetCondition.status":                       false,
	"apps.v1.ControllerRevision.revision":                      false,
	"authentication.v1.TokenReviewSpec.token":                  true,
	"authentication.v1.TokenRequest.spec":                      false,
	"authentication.v1.TokenRequestSpec.audiences":             false,
	"authentication.v1.TokenRequestSpec.expirationSeconds":     false,
	"authentication.v1.TokenRequestSpec.boundObjectRef":        false,
	"authentication.v1.TokenRequestStatus.token":               false,
	"authentication.v1.TokenRequestStatus.expirationTimestamp": false,
	"autoscaling.v1.HorizontalPodAutoscaler.spec":              true,
	"batch.v1.PodFailurePolicyOnPodConditionsPattern.status":   false,
	"batch.v1.CronJob.spec":                                    true,
	"discovery.v1.EndpointSlice.endpoints":                     false,
	"discovery.v1.EndpointSlice.ports":                         false,
	"events.v1.Event.metadata":                                 false,
	"networking.v1.NetworkPolicySpec.podSelector":              false,
	"networking.v1.IngressClassParametersReference.scope":      false,
	"networking.v1.IPAddress.spec":                             true,
	"networking.v1.IPAddressSpec.parentRef":                    true,
	"networking.v1.ParentReference.resource":                   true,
	"networking.v1.ParentReference.name":                       true,
	"policy.v1.PodDisruptionBudgetStatus.disruptionsAllowed":   false,
	"policy.v1.PodDisruptionBudgetStatus.currentHealthy":       false,
	"policy.v1.PodDisruptionBudgetStatus.desiredHealthy":       false,
	"policy.v1.PodDisruptionBudgetStatus.expectedPods":         false,
	"rbac.v1.RoleRef.apiGroup":                                 false,
	"rbac.v1.Role.rules":                                       false,
	"rbac.v1.ClusterRole.rules":                                false,
	"scheduling.v1.PriorityClass.value":                        false,
	"storage.v1.CSINodeDriver.topologyKeys":                    false,
}

// descriptions are for types whose authors wrote none that a program can read.
var descriptions = map[string]string{
	"io.k8s.apimachinery.pkg.api.resource.Quantity": "An amount of something, as a number with an optional unit: 0.5, 500m (thousandths), " +
		"2k, 3M, 1G (powers of 1000), 64Ki, 128Mi, 1Gi (powers of 1024), 1e3. Amounts are compared by value and written back in the shortest form.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Duration":   "A length of time as Go writes it: 1h30m, 250ms.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":  "A point in time with microseconds, in RFC 3339 form: 2006-01-02T15:04:05.000000Z.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":       "A point in time in RFC 3339 form: 2006-01-02T15:04:05Z. Fractions of a second are dropped.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent": "One change of a watched resource.",
	"io.k8s.apimachinery.pkg.runtime.RawExtension":    "Any object of the API, kept as it came.",
	"io.k8s.apimachinery.pkg.util.intstr.IntOrString": "An int32 or a string, such as the number or the name of a port.",
}
