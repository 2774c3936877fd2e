package admission

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
)

// stored is a cluster that has objects of one kind.
type stored []api.Object

func cluster[T api.Object](objects []T) stored {
	var s stored
	for _, o := range objects {
		s = append(s, o)
	}
	return s
}

func (s stored) Get(_ context.Context, gr schema.GroupResource, namespace, name string) (api.Object, error) {
	for _, o := range s {
		if o.GetNamespace() == namespace && o.GetName() == name {
			return o, nil
		}
	}
	return nil, apierrors.NewNotFound(gr, name)
}

func (s stored) List(context.Context, schema.GroupResource, string) ([]api.Object, error) {
	return append(stored(nil), s...), nil
}

func class(name string, value int32, policy corev1.PreemptionPolicy, isDefault bool) *schedulingv1.PriorityClass {
	return &schedulingv1.PriorityClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, PreemptionPolicy: &policy, GlobalDefault: isDefault,
	}
}

func TestPriority(t *testing.T) {
	gold := class("gold", 1000, corev1.PreemptNever, false)
	low, high := class("low", 5, corev1.PreemptLowerPriority, true), class("high", 50, corev1.PreemptLowerPriority, true)
	for _, c := range []struct {
		name    string
		cluster stored
		in      corev1.PodSpec
		class   string
		value   int32
		policy  corev1.PreemptionPolicy
		fail    string
	}{
		{"none", cluster([]*schedulingv1.PriorityClass{gold}), corev1.PodSpec{}, "", 0, corev1.PreemptLowerPriority, ""},
		{"a stored one", cluster([]*schedulingv1.PriorityClass{gold}), corev1.PodSpec{PriorityClassName: "gold"}, "gold", 1000, corev1.PreemptNever, ""},
		{"the default, the lower of two", cluster([]*schedulingv1.PriorityClass{high, low, gold}), corev1.PodSpec{}, "low", 5, corev1.PreemptLowerPriority, ""},
		{"its own number again", cluster([]*schedulingv1.PriorityClass{gold}), corev1.PodSpec{PriorityClassName: "gold", Priority: new(int32(1000))}, "gold", 1000, corev1.PreemptNever, ""},
		{"another policy", cluster([]*schedulingv1.PriorityClass{gold}),
			corev1.PodSpec{PriorityClassName: "gold", PreemptionPolicy: new(corev1.PreemptLowerPriority)}, "", 0, "",
			`pods "web" is forbidden: the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name`},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: c.in}
			err := priority(t.Context(), &Attributes{Operation: Create, Kind: podKind(t), Name: "web", Object: pod, Cluster: c.cluster})
			if c.fail != "" || err != nil {
				if err == nil || err.Error() != c.fail {
					t.Errorf("got %v, want %s", err, c.fail)
				}
				return
			}
			if s := pod.Spec; s.PriorityClassName != c.class || *s.Priority != c.value || *s.PreemptionPolicy != c.policy {
				t.Errorf("got %q, %d, %s", s.PriorityClassName, *s.Priority, *s.PreemptionPolicy)
			}
		})
	}
}

// TestPriorityStays: a Pod's numbers are those of its creation, whatever becomes of the class.
func TestPriorityStays(t *testing.T) {
	old := &corev1.Pod{Spec: corev1.PodSpec{Priority: new(int32(7)), PreemptionPolicy: new(corev1.PreemptNever)}}
	pod := &corev1.Pod{}
	if err := priority(t.Context(), &Attributes{Operation: Update, Kind: podKind(t), Object: pod, Old: old}); err != nil {
		t.Fatal(err)
	}
	if *pod.Spec.Priority != 7 || *pod.Spec.PreemptionPolicy != corev1.PreemptNever {
		t.Errorf("got %+v", pod.Spec)
	}
}

func TestOneDefaultPriority(t *testing.T) {
	have := cluster([]*schedulingv1.PriorityClass{class("low", 5, corev1.PreemptNever, true)})
	kind := api.ByResource("scheduling.k8s.io", "priorityclasses")
	for _, c := range []struct {
		name  string
		op    Operation
		class *schedulingv1.PriorityClass
		fail  string
	}{
		{"not a default", Create, class("x", 1, corev1.PreemptNever, false), ""},
		{"the same again", Update, class("low", 5, corev1.PreemptNever, true), ""},
		{"a second", Create, class("x", 1, corev1.PreemptNever, true),
			`priorityclasses.scheduling.k8s.io "x" is forbidden: PriorityClass low is already marked as default. Only one default can exist`},
		{"one made a second", Update, class("y", 1, corev1.PreemptNever, true),
			`priorityclasses.scheduling.k8s.io "y" is forbidden: PriorityClass low is already marked as default. Only one default can exist`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := oneDefaultPriority(t.Context(), &Attributes{Operation: c.op, Kind: kind, Name: c.class.Name, Object: c.class, Cluster: have})
			if (err == nil) != (c.fail == "") || err != nil && err.Error() != c.fail {
				t.Errorf("got %v, want %s", err, c.fail)
			}
		})
	}
}

func TestDefaultIngressClass(t *testing.T) {
	class := func(name string, age time.Duration, marked string) *networkingv1.IngressClass {
		return &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{
			Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age)),
			Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: marked},
		}}
	}
	both := cluster([]*networkingv1.IngressClass{class("old", time.Hour, "true"), class("b", 0, "true"), class("a", 0, "true"), class("not", 0, "false")})
	for _, c := range []struct {
		name    string
		cluster stored
		in      networkingv1.Ingress
		want    string // "" for none
	}{
		{"no class", nil, networkingv1.Ingress{}, ""},
		{"the newest, the first by name", both, networkingv1.Ingress{}, "a"},
		{"one of its own", both, networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: new("mine")}}, "mine"},
		{"the annotation", both, networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"kubernetes.io/ingress.class": "x"}}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := defaultIngressClass(t.Context(), &Attributes{Operation: Create, Object: &c.in, Cluster: c.cluster}); err != nil {
				t.Fatal(err)
			}
			got := ""
			if n := c.in.Spec.IngressClassName; n != nil {
				got = *n
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
