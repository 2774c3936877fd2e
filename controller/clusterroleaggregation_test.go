package controller_test

import (
	"fmt"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"orrery.example.org/controller"
)

// TestAggregatedRoles: admin, edit and view have rules, which follow those of their parts
// and are mended when somebody takes them away.
func TestAggregatedRoles(t *testing.T) {
	c := serve(t, "Node", "RBAC") // the loop writes as its own account
	cfg := controller.Defaults()
	cfg.Client, cfg.Scheduler, cfg.Log = c.config, c.scheduler, c.log
	c.manage(cfg)
	roles := c.RbacV1().ClusterRoles()
	may := func(name, resource string, want bool) func() error {
		return func() error {
			role, err := roles.Get(c.ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			has := false
			for _, r := range role.Rules {
				has = has || strings.Contains(" "+strings.Join(r.Resources, " ")+" ", " "+resource+" ")
			}
			if has != want {
				return fmt.Errorf("of %s in %s: %t, rules: %v", resource, name, has, role.Rules)
			}
			for _, m := range role.ManagedFields {
				if m.Manager == "clusterrole-aggregation-controller" && m.Operation == metav1.ManagedFieldsOperationApply {
					return nil
				}
			}
			return fmt.Errorf("nobody owns the rules of %s: %v", name, role.ManagedFields)
		}
	}
	eventually(t, "view lets read Pods", may("view", "pods/log", true))
	eventually(t, "edit lets enter Pods", may("edit", "pods/exec", true))
	eventually(t, "edit lets do what view lets", may("edit", "pods/log", true))
	eventually(t, "admin lets write roles", may("admin", "rolebindings", true))

	tunnels := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "tunnels", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"example.org"}, Resources: []string{"tunnels"}}},
	}
	_, err := roles.Create(c.ctx, tunnels, metav1.CreateOptions{})
	must(t, err)
	eventually(t, "view got the new rule", may("view", "tunnels", true))
	_, err = c.RbacV1().ClusterRoleBindings().Create(c.ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "visitors"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "jane"}},
	}, metav1.CreateOptions{})
	must(t, err)
	review, err := c.AuthorizationV1().SubjectAccessReviews().Create(c.ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: "jane", ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "get", Group: "example.org", Resource: "tunnels"}},
	}, metav1.CreateOptions{})
	must(t, err)
	if !review.Status.Allowed {
		t.Errorf("who may view may not view the new kind: %+v", review.Status)
	}
	eventually(t, "and admin, which is a sum of sums", may("admin", "tunnels", true))

	view, err := roles.Get(c.ctx, "view", metav1.GetOptions{})
	must(t, err)
	view.Rules = nil
	_, err = roles.Update(c.ctx, view, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, "view is mended", may("view", "tunnels", true))

	must(t, roles.Delete(c.ctx, "tunnels", metav1.DeleteOptions{}))
	eventually(t, "view lost the rule", may("view", "tunnels", false))
	eventually(t, "and admin", may("admin", "tunnels", false))
}
