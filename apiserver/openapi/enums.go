package openapi

import (
	"reflect"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// enumeration adds the values that a string of type t may have, if it has a list of them.
//
// Kubernetes: the description tells what each of them means, too.
func enumeration(t reflect.Type, s *spec.Schema) {
	name := strings.ReplaceAll(strings.TrimPrefix(t.PkgPath(), "k8s.io/api/"), "/", ".") + "." + t.Name()
	for _, value := range enums[name] {
		s.Enum = append(s.Enum, value)
	}
}

// enums are the values of the types that are marked as enumerations in a comment (+enum):
// constants, which reflection cannot see. TestEnums reads the sources and compares.
var enums = map[string][]string{
	"apps.v1.DaemonSetUpdateStrategyType":             {"OnDelete", "RollingUpdate"},
	"apps.v1.DeploymentStrategyType":                  {"Recreate", "RollingUpdate"},
	"apps.v1.PodManagementPolicyType":                 {"OrderedReady", "Parallel"},
	"apps.v1.StatefulSetUpdateStrategyType":           {"OnDelete", "Recreate", "RollingUpdate"},
	"autoscaling.v1.MetricSourceType":                 {"ContainerResource", "External", "Object", "Pods", "Resource"},
	"batch.v1.CompletionMode":                         {"Indexed", "NonIndexed"},
	"batch.v1.ConcurrencyPolicy":                      {"Allow", "Forbid", "Replace"},
	"batch.v1.PodFailurePolicyAction":                 {"Count", "FailIndex", "FailJob", "Ignore"},
	"batch.v1.PodFailurePolicyOnExitCodesOperator":    {"In", "NotIn"},
	"batch.v1.PodReplacementPolicy":                   {"Failed", "TerminatingOrFailed"},
	"certificates.v1.KeyUsage":                        {"any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"},
	"core.v1.AppArmorProfileType":                     {"Localhost", "RuntimeDefault", "Unconfined"},
	"core.v1.AzureDataDiskCachingMode":                {"None", "ReadOnly", "ReadWrite"},
	"core.v1.AzureDataDiskKind":                       {"Dedicated", "Managed", "Shared"},
	"core.v1.ClaimResourceStatus":                     {"ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"},
	"core.v1.DNSPolicy":                               {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
	"core.v1.GRPCProbeMode":                           {"Plaintext", "TLS"},
	"core.v1.HTTPProtocol":                            {"HTTP1", "HTTP2"},
	"core.v1.HostPathType":                            {"", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"},
	"core.v1.IPFamily":                                {"", "IPv4", "IPv6"},
	"core.v1.IPFamilyPolicy":                          {"PreferDualStack", "RequireDualStack", "SingleStack"},
	"core.v1.MountPropagationMode":                    {"Bidirectional", "HostToContainer", "None"},
	"core.v1.NamespacePhase":                          {"Active", "Terminating"},
	"core.v1.NodeInclusionPolicy":                     {"Honor", "Ignore"},
	"core.v1.NodePhase":                               {"Pending", "Running", "Terminated"},
	"core.v1.NodeSelectorOperator":                    {"DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"},
	"core.v1.PersistentVolumeAccessMode":              {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"},
	"core.v1.PersistentVolumeClaimModifyVolumeStatus": {"InProgress", "Infeasible", "Pending"},
	"core.v1.PersistentVolumeClaimPhase":              {"Bound", "Lost", "Pending"},
	"core.v1.PersistentVolumeMode":                    {"Block", "Filesystem"},
	"core.v1.PersistentVolumePhase":                   {"Available", "Bound", "Failed", "Pending", "Released"},
	"core.v1.PersistentVolumeReclaimPolicy":           {"Delete", "Recycle", "Retain"},
	"core.v1.PodFSGroupChangePolicy":                  {"Always", "OnRootMismatch"},
	"core.v1.PodPhase":                                {"Failed", "Pending", "Running", "Succeeded", "Unknown"},
	"core.v1.PodQOSClass":                             {"BestEffort", "Burstable", "Guaranteed"},
	"core.v1.PreemptionPolicy":                        {"Never", "PreemptLowerPriority"},
	"core.v1.ProcMountType":                           {"Default", "Unmasked"},
	"core.v1.Protocol":                                {"SCTP", "TCP", "UDP"},
	"core.v1.PullPolicy":                              {"Always", "IfNotPresent", "Never"},
	"core.v1.ResourceQuotaScope":                      {"BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating", "VolumeAttributesClass"},
	"core.v1.RestartPolicy":                           {"Always", "Never", "OnFailure"},
	"core.v1.ScopeSelectorOperator":                   {"DoesNotExist", "Exists", "In", "NotIn"},
	"core.v1.SeccompProfileType":                      {"Localhost", "RuntimeDefault", "Unconfined"},
	"core.v1.ServiceAffinity":                         {"ClientIP", "None"},
	"core.v1.ServiceExternalTrafficPolicy":            {"Cluster", "Local"},
	"core.v1.ServiceInternalTrafficPolicy":            {"Cluster", "Local"},
	"core.v1.ServiceType":                             {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"},
	"core.v1.Signal":                                  {"SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGIOT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGRTMAX", "SIGRTMAX-1", "SIGRTMAX-10", "SIGRTMAX-11", "SIGRTMAX-12", "SIGRTMAX-13", "SIGRTMAX-14", "SIGRTMAX-2", "SIGRTMAX-3", "SIGRTMAX-4", "SIGRTMAX-5", "SIGRTMAX-6", "SIGRTMAX-7", "SIGRTMAX-8", "SIGRTMAX-9", "SIGRTMIN", "SIGRTMIN+1", "SIGRTMIN+10", "SIGRTMIN+11", "SIGRTMIN+12", "SIGRTMIN+13", "SIGRTMIN+14", "SIGRTMIN+15", "SIGRTMIN+2", "SIGRTMIN+3", "SIGRTMIN+4", "SIGRTMIN+5", "SIGRTMIN+6", "SIGRTMIN+7", "SIGRTMIN+8", "SIGRTMIN+9", "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ"},
	"core.v1.SupplementalGroupsPolicy":                {"Merge", "Strict"},
	"core.v1.TaintEffect":                             {"NoExecute", "NoSchedule", "PreferNoSchedule"},
	"core.v1.TerminationMessagePolicy":                {"FallbackToLogsOnError", "File"},
	"core.v1.TolerationOperator":                      {"Equal", "Exists", "Gt", "Lt"},
	"core.v1.URIScheme":                               {"HTTP", "HTTPS"},
	"core.v1.UnsatisfiableConstraintAction":           {"DoNotSchedule", "ScheduleAnyway"},
	"core.v1.VolumeHealthStatusType":                  {"DataLoss", "Degraded", "Inaccessible"},
	"discovery.v1.AddressType":                        {"FQDN", "IPv4", "IPv6"},
	"networking.v1.PathType":                          {"Exact", "ImplementationSpecific", "Prefix"},
	"networking.v1.PolicyType":                        {"Egress", "Ingress"},
	"policy.v1.UnhealthyPodEvictionPolicyType":        {"AlwaysAllow", "IfHealthyBudget"},
	"storage.v1.StorageHealthStatusType":              {"StorageDegraded", "StorageUnreachable"},
	"storage.v1.VolumeBindingMode":                    {"Immediate", "WaitForFirstConsumer"},
}
