package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/apiserver/auth"
	"orrery.example.org/apiserver/auth/node"
)

// nodeRestriction lets a node's agent write what is its own: its Node, its Lease, its Pods'
// status and tokens. That it may write such objects at all is the Node authorizer's
// decision; here is seen what is in them.
//
// Left out: the status of PersistentVolumeClaims, and kinds that the cluster doesn't have.
func nodeRestriction(ctx context.Context, a *Attributes) error {
	name, isNode := node.Name(a.User)
	if !isNode {
		return nil
	}
	if name == "" {
		return forbidden(a, fmt.Errorf("could not determine node from user %q", a.User.Name))
	}
	check := nodeChecks[a.Kind.GroupResource()]
	if check == nil {
		return nil
	}
	err := check(ctx, a, name)
	if err == nil || apierrors.IsNotFound(err) {
		return err
	}
	return forbidden(a, err)
}

var nodeChecks = map[schema.GroupResource]func(ctx context.Context, a *Attributes, name string) error{
	{Resource: "pods"}:                                 nodePod,
	{Resource: "nodes"}:                                nodeNode,
	{Resource: "serviceaccounts"}:                      nodeToken,
	{Group: "coordination.k8s.io", Resource: "leases"}: nodeLease,
	{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}: nodeRequest,
}

var (
	podResource  = schema.GroupResource{Resource: "pods"}
	nodeResource = schema.GroupResource{Resource: "nodes"}
)

func nodePod(ctx context.Context, a *Attributes, name string) error {
	switch {
	case a.Subresource == "" && a.Operation == Create:
		return mirrorPod(ctx, a, name)
	case a.Subresource == "" && a.Operation == Delete:
		return itsPod(ctx, a, name, fmt.Errorf("node %q can only delete pods with spec.nodeName set to itself", name))
	case a.Subresource == "":
		return fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", a.Operation, name)
	case a.Subresource == "status" && a.Operation == Update:
		return nodePodStatus(a, name)
	case a.Subresource == "eviction" && a.Operation == Create:
		return itsPod(ctx, a, name, fmt.Errorf("node %s can only evict pods with spec.nodeName set to itself", name))
	case a.Subresource == "status", a.Subresource == "eviction":
		return fmt.Errorf("unexpected operation %q", a.Operation)
	}
	return fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.Subresource)
}

// itsPod returns the error if the Pod runs elsewhere.
func itsPod(ctx context.Context, a *Attributes, name string, elsewhere error) error {
	o, err := a.Cluster.Get(ctx, podResource, a.Namespace, a.Name)
	if err != nil {
		return err
	}
	if o.(*corev1.Pod).Spec.NodeName != name {
		return elsewhere
	}
	return nil
}

// mirrorPod: the only Pods a node makes show what it runs by itself. They belong to it, and
// give it a right to nothing.
func mirrorPod(ctx context.Context, a *Attributes, name string) error {
	pod := a.Object.(*corev1.Pod)
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, name)
	}
	switch {
	case pod.Spec.NodeName != name:
		return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", name)
	case len(pod.OwnerReferences) > 1:
		return fmt.Errorf("node %q can only create pods with a single owner reference set to itself", name)
	case len(pod.OwnerReferences) == 0:
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", name)
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != name:
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", name)
	case owner.Controller == nil || !*owner.Controller:
		return fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", name)
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", name)
	}
	o, err := a.Cluster.Get(ctx, nodeResource, "", name)
	switch {
	case apierrors.IsNotFound(err):
		return err
	case err != nil:
		return fmt.Errorf("error looking up node %s to verify uid: %v", name, err)
	case owner.UID != o.GetUID():
		return fmt.Errorf("node %s UID mismatch: expected %s got %s", name, owner.UID, o.GetUID())
	}
	if what := node.Reference(pod); what != "" {
		return fmt.Errorf("node %q can not create pods that reference %s", name, what)
	}
	return nil
}

func nodePodStatus(a *Attributes, name string) error {
	old, pod := a.Old.(*corev1.Pod), a.Object.(*corev1.Pod)
	same := equality.Semantic.DeepEqual
	switch {
	case old.Spec.NodeName != name:
		return fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", name)
	case !same(old.Labels, pod.Labels):
		return fmt.Errorf("node %q cannot update labels through pod status", name)
	case !same(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses):
		return fmt.Errorf("node %q cannot update resource claim statues", name)
	case !same(old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus):
		return fmt.Errorf("node %q cannot update extended resource claim status", name)
	case !same(old.Status.NodeAllocatableResourceClaimStatuses, pod.Status.NodeAllocatableResourceClaimStatuses):
		return fmt.Errorf("node %q cannot update node allocatable resource claim statuses", name)
	}
	return nil
}

func nodeNode(_ context.Context, a *Attributes, name string) error {
	requested := a.Name
	if requested == "" && a.Object != nil {
		requested = a.Object.GetName()
	}
	if requested != name {
		return fmt.Errorf("node %q is not allowed to modify node %q", name, requested)
	}
	switch next, _ := a.Object.(*corev1.Node); a.Operation {
	case Create:
		if next.Spec.ConfigSource != nil {
			return fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", name)
		}
		if labels := foreignLabels(next.Labels, nil); len(labels) > 0 {
			return fmt.Errorf("node %q is not allowed to set the following labels: %s", name, strings.Join(labels, ", "))
		}
	case Update:
		return nodeUpdate(next, a.Old.(*corev1.Node), name)
	}
	return nil
}

func nodeUpdate(next, old *corev1.Node, name string) error {
	same := equality.Semantic.DeepEqual
	switch {
	case next.Spec.ConfigSource != nil && !same(next.Spec.ConfigSource, old.Spec.ConfigSource):
		return fmt.Errorf("node %q is not allowed to update configSource to a new non-nil configSource", name)
	case !same(next.Spec.Taints, old.Spec.Taints): // or it could draw other Pods to itself
		return fmt.Errorf("node %q is not allowed to modify taints", name)
	case !same(next.OwnerReferences, old.OwnerReferences):
		return fmt.Errorf("node %q is not allowed to modify ownerReferences", name)
	}
	if labels := foreignLabels(next.Labels, old.Labels); len(labels) > 0 {
		return fmt.Errorf("is not allowed to modify labels: %s", strings.Join(labels, ", "))
	}
	return nil
}

// agentLabels are those of Kubernetes' own labels that an agent knows best.
var agentLabels = []string{
	corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	corev1.LabelInstanceType, corev1.LabelInstanceTypeStable,
	corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
}

// foreignLabels are the changed labels that are not for an agent to change, in order.
func foreignLabels(next, old map[string]string) []string {
	var foreign []string
	for _, pair := range [][2]map[string]string{{next, old}, {old, next}} {
		for key, value := range pair[0] {
			if other, ok := pair[1][key]; (!ok || other != value) && isForeign(key) {
				foreign = append(foreign, key)
			}
		}
	}
	slices.Sort(foreign)
	return slices.Compact(foreign)
}

func isForeign(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	if !ok {
		return false
	}
	below := func(parent string) bool { return domain == parent || strings.HasSuffix(domain, "."+parent) }
	switch {
	case below(corev1.LabelNamespaceNodeRestriction):
		return true
	case !below("kubernetes.io") && !below("k8s.io"), slices.Contains(agentLabels, key):
		return false
	}
	return !below(corev1.LabelNamespaceSuffixKubelet) && !below(corev1.LabelNamespaceSuffixNode)
}

// nodeToken: a node gets tokens for its Pods, bound to them, and for those audiences only
// that the Pods ask for or it has been granted.
func nodeToken(ctx context.Context, a *Attributes, name string) error {
	request, ok := a.Object.(*authenticationv1.TokenRequest)
	if !ok || a.Operation != Create || a.Subresource != "token" {
		return nil
	}
	ref := request.Spec.BoundObjectRef
	switch {
	case ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "":
		return errors.New("node requested token not bound to a pod")
	case ref.UID == "":
		return errors.New("node requested token with a pod binding without a uid")
	}
	o, err := a.Cluster.Get(ctx, podResource, a.Namespace, ref.Name)
	if err != nil {
		return err
	}
	pod := o.(*corev1.Pod)
	switch {
	case ref.UID != pod.UID:
		return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	case pod.Spec.NodeName != name:
		return errors.New("node requested token bound to a pod scheduled on a different node")
	case len(request.Spec.Audiences) > 1:
		return errors.New("node may only request 0 or 1 audiences")
	}
	audience := ""
	if len(request.Spec.Audiences) == 1 {
		audience = request.Spec.Audiences[0]
	}
	if asksFor(pod, audience) {
		return nil
	}
	allowed, _, err := a.Authorizer.Authorize(ctx, auth.Attributes{User: a.User, Verb: "request-serviceaccounts-token-audience",
		Version: "v1", Resource: audience, Namespace: a.Namespace, Name: a.Name})
	if err == nil && !allowed {
		err = fmt.Errorf("%s is not authorized to request tokens for audience %q", a.User.Name, audience)
	}
	return err
}

// asksFor says whether a volume of the Pod is a token for the audience.
func asksFor(pod *corev1.Pod, audience string) bool {
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience {
				return true
			}
		}
	}
	return false
}

func nodeLease(_ context.Context, a *Attributes, name string) error {
	own := a.Name
	if a.Operation == Create {
		own = a.Object.GetName()
	}
	switch {
	case a.Namespace != corev1.NamespaceNodeLease:
		return fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case own != name:
		return errors.New("can only access node lease with the same name as the requesting node")
	}
	return nil
}

// nodeRequest: a node asks for certificates in its own name.
func nodeRequest(_ context.Context, a *Attributes, name string) error {
	csr, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || a.Operation != Create ||
		csr.Spec.SignerName != certificatesv1.KubeletServingSignerName && csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("unable to parse csr: PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	switch {
	case err != nil:
		return fmt.Errorf("unable to parse csr: %w", err)
	case request.Subject.CommonName != "system:node:"+name:
		return fmt.Errorf("can only create a node CSR with CN=system:node:%s", name)
	}
	return nil
}
