package node

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// servicesFor lists the Services that a Pod's containers find in their environment:
// the API's, and unless the Pod does without, those of its namespace.
func (n *Node) servicesFor(ctx context.Context, pod *corev1.Pod) ([]*corev1.Service, error) {
	ctx, cancel := context.WithTimeout(ctx, syncPatience)
	defer cancel()
	if !cache.WaitFor(ctx, "", n.services.Informer().HasSyncedChecker()) {
		return nil, errors.New("services have not yet been read at least once, cannot construct envs")
	}
	all, err := n.services.Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	visible := map[string]*corev1.Service{}
	linked := ptr.Deref(pod.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	for _, s := range all {
		isAPI := s.Namespace == metav1.NamespaceDefault && s.Name == "kubernetes"
		hasAddress := s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone
		switch {
		case !hasAddress:
		case isAPI && visible[s.Name] != nil: // the namespace has a Service of that name
		case isAPI, linked && s.Namespace == pod.Namespace:
			visible[s.Name] = s
		}
	}
	return slices.Collect(maps.Values(visible)), nil
}

// serviceVariables tells of Services as Docker's links once did.
func serviceVariables(services []*corev1.Service) map[string]string {
	values := map[string]string{}
	for _, s := range services {
		prefix := variableName(s.Name)
		values[prefix+"_SERVICE_HOST"] = s.Spec.ClusterIP
		for i, port := range s.Spec.Ports {
			number, protocol := strconv.Itoa(int(port.Port)), string(port.Protocol)
			if protocol == "" {
				protocol = string(corev1.ProtocolTCP)
			}
			url := strings.ToLower(protocol) + "://" + net.JoinHostPort(s.Spec.ClusterIP, number)
			if i == 0 {
				values[prefix+"_SERVICE_PORT"] = number
				values[prefix+"_PORT"] = url
			}
			if port.Name != "" {
				values[prefix+"_SERVICE_PORT_"+variableName(port.Name)] = number
			}
			one := prefix + "_PORT_" + number + "_" + strings.ToUpper(protocol)
			values[one] = url
			values[one+"_PROTO"] = strings.ToLower(protocol)
			values[one+"_PORT"] = number
			values[one+"_ADDR"] = s.Spec.ClusterIP
		}
	}
	return values
}

func variableName(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
