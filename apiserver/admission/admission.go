// Package admission is what happens to a write between "you may" and "it is valid":
// plugins that fill in what the cluster knows and the client need not say, and plugins
// that refuse what is allowed and well formed but does not fit the cluster's state.
//
// Upstream counterpart: plugin/pkg/admission of kubernetes/kubernetes and
// k8s.io/apiserver/pkg/admission. In go a request's Attributes, out come a changed
// object or a refusal. The list below is all there is, in upstream's order; one file
// each. Left out: webhooks and admission policies, whose places the list shows, quota,
// limit ranges and Pod security.
package admission

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"orrery.example.org/api"
	"orrery.example.org/apiserver/auth"
)

// Plugins is what every request passes, first all that change, then, once the object is
// complete and valid, all that only look.
var Plugins = []Plugin{
	{Name: "NamespaceLifecycle", Admit: namespaceLifecycle},
	{Name: "ServiceAccount", Admit: serviceAccount},
	{Name: "NodeRestriction", Admit: nodeRestriction},
	{Name: "Priority", Admit: priority, Validate: oneDefaultPriority},
	{Name: "DefaultTolerationSeconds", Admit: defaultTolerationSeconds},
	{Name: "CertificateApproval", Validate: certificateApproval},
	{Name: "CertificateSigning", Validate: certificateSigning},
	{Name: "CertificateSubjectRestriction", Validate: certificateSubjectRestriction},
	{Name: "DefaultIngressClass", Admit: defaultIngressClass},
	// MutatingAdmissionPolicy and MutatingAdmissionWebhook would be here,
	// ValidatingAdmissionPolicy, ValidatingAdmissionWebhook and ResourceQuota after them.
}

// Plugin is one rule. Admit may change a.Object; it sees the object as the client wants
// it, with defaults. Validate sees it as it will be stored, and must not change it.
// Either may be nil. An error is the client's answer as it is.
type Plugin struct {
	Name     string
	Admit    func(ctx context.Context, a *Attributes) error
	Validate func(ctx context.Context, a *Attributes) error
}

// Off is what Attributes says of the named plugins. Each must be in the list.
func Off(names []string) (map[string]bool, error) {
	off := map[string]bool{}
	for _, name := range names {
		if !slices.ContainsFunc(Plugins, func(p Plugin) bool { return p.Name == name }) {
			return nil, fmt.Errorf("disable-admission-plugins: admission plugin %q is unknown", name)
		}
		off[name] = true
	}
	return off, nil
}

// Operation is what is done to the object.
type Operation string

// The operations that are admitted; reading is not among them.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Attributes are a request as plugins see it.
type Attributes struct {
	Operation   Operation
	Kind        *api.Kind
	Subresource string
	Namespace   string
	Name        string     // "" while it is to be generated
	Object      api.Object // what shall be stored, in the storage version; nil on Delete
	Old         api.Object // what is stored; nil on Create
	User        *auth.User
	DryRun      bool
	Cluster     Cluster
	Authorizer  auth.Authorizer // for plugins that ask what else the user may
	Warn        func(text string)
	Off         map[string]bool // plugins that are not asked
}

// Cluster is how plugins see what else is stored.
type Cluster interface {
	// Get finds an object of the storage version, asking etcd if the cache has none.
	Get(ctx context.Context, resource schema.GroupResource, namespace, name string) (api.Object, error)
	// List finds what the cache has in the namespace, "" for all.
	List(ctx context.Context, resource schema.GroupResource, namespace string) ([]api.Object, error)
}

// Admit lets every plugin change the object.
func Admit(ctx context.Context, a *Attributes) error {
	for _, p := range Plugins {
		if p.Admit == nil || a.Off[p.Name] {
			continue
		}
		if err := p.Admit(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Validate lets every plugin refuse the object as it will be stored.
func Validate(ctx context.Context, a *Attributes) error {
	for _, p := range Plugins {
		if p.Validate == nil || a.Off[p.Name] {
			continue
		}
		if err := p.Validate(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// forbidden refuses a request in the words of all plugins.
func forbidden(a *Attributes, why error) *apierrors.StatusError {
	name := a.Name
	if o := a.Object; name == "" && o != nil { // it is being created
		name = cmp.Or(o.GetName(), o.GetGenerateName(), "Unknown")
	}
	return apierrors.NewForbidden(a.Kind.GroupResource(), name, why)
}
