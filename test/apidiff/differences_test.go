package apidiff

import (
	"fmt"
	"slices"
	"strings"
)

// difference is one way in which our answers are not kube-apiserver's, and why.
type difference struct {
	reason  string
	applies func(g group, r request, c change) bool
}

// differences are tried in order: the first that applies explains a change.
var differences = []difference{
	{
		reason: "the build of the server: its version says that it is not upstream's",
		applies: func(_ group, r request, c change) bool {
			return r.path == "/version" && (strings.HasPrefix(c.at, ".git") || c.at == ".buildDate")
		},
	}, {
		reason: "the paths of / and the checks of /readyz are those that there are",
		applies: func(_ group, r request, c change) bool {
			return r.path == "/" && c.at == ".paths" || r.path == "/readyz?verbose" && c.at == ""
		},
	}, {
		reason: "a conflict of uids: upstream tells the key in etcd",
		applies: func(_ group, _ request, c change) bool {
			return c.at == ".message" && mentions(c.theirs, "StorageError: invalid object, Code: 4, Key: /registry/") &&
				mentions(c.ours, "Precondition failed: UID in precondition: ")
		},
	}, {
		reason: "a body of another kind: upstream speaks of its Go types and source files",
		applies: func(_ group, _ request, c change) bool {
			return c.at == ".message" && (mentions(c.theirs, "unknown conversion") || mentions(c.theirs, `in scheme "pkg/runtime/scheme.go:`))
		},
	}, {
		reason: "a JSON patch that is no list: upstream names its Go type",
		applies: func(_ group, _ request, c change) bool {
			return c.at == ".message" && mentions(c.theirs, "of type []handlers.jsonPatchOp") && mentions(c.ours, "of type []apiserver.operation")
		},
	}, {
		reason: "what came of an impossible merge patch is shown without managedFields, which we don't write down for it",
		applies: func(_ group, _ request, c change) bool {
			theirs, ours := fmt.Sprint(c.theirs), fmt.Sprint(c.ours)
			from := strings.Index(theirs, `,\"managedFields\":[`)
			return from > 0 && strings.HasPrefix(ours, theirs[:from]) && strings.HasSuffix(theirs, ours[from:])
		},
	}, {
		reason: "the answers to questions have no managedFields: client-go's schema doesn't know these kinds",
		applies: func(g group, _ request, c change) bool {
			return (g.name == "identity" || g.name == "access") && c.at == ".metadata.managedFields" && c.ours == nil
		},
	}, {
		reason: "nor are such managedFields shown where a question's metadata are refused",
		applies: func(g group, r request, c change) bool {
			return g.name == "access" && strings.Contains(r.body, `"metadata"`) && strings.HasSuffix(fmt.Sprint(c.ours), `{"name":"x"}: must be empty`) &&
				strings.Contains(fmt.Sprint(c.theirs), `{"name":"x","managedFields":`)
		},
	}, {
		reason: "what somebody lacks to hand on: of another binding's role that doesn't exist, upstream says that the request's resource wasn't found",
		applies: func(_ group, _ request, c change) bool {
			const before = "resolution errors: ["
			theirs := strings.Replace(fmt.Sprint(c.theirs), before+"roles.", before+"clusterrole.", 1)
			return strings.Contains(theirs, before) && theirs == fmt.Sprint(c.ours)
		},
	}, {
		reason: "the lists of groups and resources are those of the kinds we serve",
		applies: func(_ group, r request, c change) bool {
			listed := r.path == "/apis" && c.at == ".groups" || strings.HasPrefix(r.path, "/api") && c.at == ".resources"
			return listed && within(withoutMetrics(c.ours), c.theirs)
		},
	}, {
		reason: "no such OpenAPI document: upstream's 404 is empty",
		applies: func(_ group, r request, c change) bool {
			return strings.HasPrefix(r.path, "/openapi/v3/") && c.at != "status"
		},
	}, {
		reason: "a dry run of a Service: upstream allocates nothing and shows what nobody gets; we check what is asked for and show what would be given",
		applies: func(_ group, r request, c change) bool {
			about := mentions(c.at, "clusterIPs") || mentions(r.note, "odePort") || mentions(c.at, "odePort") || mentions(c.theirs, "nodePort")
			return strings.HasPrefix(r.path, "@services?dryRun=All") && about
		},
	}, {
		reason: "a new Node is tainted as not ready by its controller, not by admission",
		applies: func(_ group, r request, c change) bool {
			return strings.HasPrefix(r.path, "/api/v1/nodes") && mentions(c.at, ".spec.taints")
		},
	}, {
		reason: "a Pod's fields that may not change: upstream shows the difference in names of its own",
		applies: func(_ group, _ request, c change) bool {
			const said = "pod updates may not change fields other than"
			theirs, _, _ := strings.Cut(fmt.Sprint(c.theirs), "\n@@")
			ours, _, _ := strings.Cut(fmt.Sprint(c.ours), "\n@@")
			return mentions(c.theirs, said) && (theirs == ours || strings.HasPrefix(theirs, ours))
		},
	},
}

// mentions says whether a message has a text in it.
func mentions(message any, text string) bool {
	return message != nil && strings.Contains(fmt.Sprint(message), text)
}

// within reports whether each element of one list is one of the other's.
func within(some, all any) bool {
	list, _ := some.([]any)
	others, _ := all.([]any)
	return !slices.ContainsFunc(list, func(one any) bool {
		return !slices.ContainsFunc(others, func(other any) bool { return len(compare("", one, other)) == 0 })
	})
}

// withoutMetrics leaves a group out that upstream has where metrics-server is installed.
func withoutMetrics(groups any) any {
	list, _ := groups.([]any)
	return slices.DeleteFunc(slices.Clone(list), func(g any) bool {
		group, _ := g.(map[string]any)
		return group["name"] == "metrics.k8s.io"
	})
}
