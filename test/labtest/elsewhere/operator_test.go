package elsewhere

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"orrery.example.org/lab/labtest"
)

const (
	siteLabel = "example.org/site"
	finalizer = "example.org/site"
	byImage   = "data.image"
)

// siteReconciler is an operator as people write them with controller-runtime: a
// ConfigMap with a label describes a site, which is a Deployment and a Service.
type siteReconciler struct {
	client.Client
	events events.EventRecorder
}

func (r *siteReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var site corev1.ConfigMap
	if err := r.Get(ctx, request.NamespacedName, &site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		if controllerutil.RemoveFinalizer(&site, finalizer) {
			return ctrl.Result{}, r.Update(ctx, &site)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(&site, finalizer) {
		if err := r.Update(ctx, &site); err != nil {
			return ctrl.Result{}, err
		}
	}
	labels := map[string]string{"site": site.Name}
	owner := metaapply.OwnerReference().WithAPIVersion("v1").WithKind("ConfigMap").WithName(site.Name).
		WithUID(site.UID).WithController(true).WithBlockOwnerDeletion(true)
	deployment := appsapply.Deployment(site.Name, site.Namespace).WithOwnerReferences(owner).WithSpec(appsapply.DeploymentSpec().
		WithReplicas(2).WithSelector(metaapply.LabelSelector().WithMatchLabels(labels)).
		WithTemplate(coreapply.PodTemplateSpec().WithLabels(labels).WithSpec(coreapply.PodSpec().
			WithContainers(coreapply.Container().WithName("web").WithImage(site.Data["image"])))))
	if err := r.Apply(ctx, deployment, client.FieldOwner("sites"), client.ForceOwnership); err != nil {
		return ctrl.Result{}, err
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: site.Name, Namespace: site.Namespace}}
	done, err := controllerutil.CreateOrUpdate(ctx, r.Client, service, func() error {
		service.Spec.Selector = labels
		service.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		return controllerutil.SetControllerReference(&site, service, r.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	if done == controllerutil.OperationResultCreated {
		r.events.Eventf(&site, service, corev1.EventTypeNormal, "Created", "Create", "made Service %s", service.Name)
	}
	var live appsv1.Deployment
	if err := r.Get(ctx, request.NamespacedName, &live); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // the cache doesn't have it yet; its event wakes us
	}
	before := site.DeepCopy()
	metav1.SetMetaDataAnnotation(&site.ObjectMeta, "example.org/ready", fmt.Sprint(live.Status.ReadyReplicas))
	return ctrl.Result{}, r.Patch(ctx, &site, client.MergeFrom(before))
}

// startOperator runs a manager with a leader election, an index and a cache.
func startOperator(t *testing.T, ctx context.Context, cluster *labtest.Cluster) client.Client {
	t.Helper()
	ctrl.SetLogger(testr.New(t))
	manager, err := ctrl.NewManager(cluster.Config, ctrl.Options{
		LeaderElection: true, LeaderElectionID: "sites", LeaderElectionNamespace: "default",
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = manager.GetFieldIndexer().IndexField(ctx, &corev1.ConfigMap{}, byImage, func(o client.Object) []string {
		return []string{o.(*corev1.ConfigMap).Data["image"]}
	})
	if err != nil {
		t.Fatal(err)
	}
	site, err := predicate.LabelSelectorPredicate(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: siteLabel, Operator: metav1.LabelSelectorOpExists}}})
	if err != nil {
		t.Fatal(err)
	}
	err = ctrl.NewControllerManagedBy(manager).
		For(&corev1.ConfigMap{}, builder.WithPredicates(site)).
		Owns(&appsv1.Deployment{}).Owns(&corev1.Service{}).
		Complete(&siteReconciler{manager.GetClient(), manager.GetEventRecorder("sites")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- manager.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	})
	return manager.GetClient()
}

// TestOperator runs the operator against a cluster whose Pods really run.
func TestOperator(t *testing.T) {
	t.Parallel()
	cluster := labtest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := startOperator(t, ctx, cluster)
	site := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "default", Labels: map[string]string{siteLabel: ""}},
		Data:       map[string]string{"image": "nginx"},
	}
	if err := c.Create(ctx, site); err != nil {
		t.Fatal(err)
	}
	key := client.ObjectKeyFromObject(site)
	until(t, ctx, "two Pods are ready", func() error {
		var sites corev1.ConfigMapList
		if err := c.List(ctx, &sites, client.InNamespace("default"), client.MatchingFields{byImage: "nginx"}); err != nil {
			return err
		}
		if len(sites.Items) != 1 || sites.Items[0].Annotations["example.org/ready"] != "2" {
			return fmt.Errorf("%d sites: %+v", len(sites.Items), sites.Items)
		}
		return nil
	})
	var deployment appsv1.Deployment
	if err := c.Get(ctx, key, &deployment); err != nil {
		t.Fatal(err)
	}
	if f := deployment.ManagedFields; len(f) == 0 || f[0].Manager != "sites" || f[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("fields are managed by %+v", f)
	}
	if err := c.Delete(ctx, site, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, "everything of it is gone", func() error {
		for _, o := range []client.Object{&corev1.ConfigMap{}, &appsv1.Deployment{}, &corev1.Service{}} {
			if err := c.Get(ctx, key, o); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%T: %v", o, err)
			}
		}
		return nil
	})
}

// until waits for something that takes as long as it takes.
func until(t *testing.T, ctx context.Context, what string, f func() error) {
	t.Helper()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("it never came about that %s: %v", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
