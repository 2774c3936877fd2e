package node

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// newRecorder starts the sending of events in kubelet's name. stop ends it, and the
// end of ctx the wait for an API server that is away.
func newRecorder(ctx context.Context, client kubernetes.Interface, node string) (r record.EventRecorder, stop func()) {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: node}), broadcaster.Shutdown
}

// nodeEvent tells something about the node. Such events lie in the default namespace
// and have the node's name for a uid, as upstream's.
func (n *Node) nodeEvent(reason, message string) {
	ref := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: n.cfg.Name, UID: types.UID(n.cfg.Name)}
	n.events.Event(ref, corev1.EventTypeNormal, reason, message)
}

// containerRef is how events refer to a container. list is the field of the Pod's
// spec that the container is in.
func containerRef(pod *corev1.Pod, list, container string) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: "spec." + list + "{" + container + "}",
	}
}
