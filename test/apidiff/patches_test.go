package apidiff

var patches = []request{
	post("@configmaps", `{metadata: {name: a, labels: {x: "1"}}, data: {k: "1"}}`),
	patch(mergePatch, "@configmaps/a", `{data: {k: "2", l: "3"}}`),
	patch(jsonPatch, "@configmaps/a", `[{op: add, path: /data/m, value: "4"}]`),
	patch(strategic, "@configmaps/a", `{data: {k: null}}`),
	patch("application/foo", "@configmaps/a", `{data: {k: null}}`),
	patch(jsonPatch, "@configmaps/a", `[{op: test, path: /data/m, value: "5"}]`),
	patch(jsonPatch, "@configmaps/a", `[{op: remove, path: /data/nothing}]`),
	patch(jsonPatch, "@configmaps/a", `[{op: foo, path: /data/nothing}]`),
	patch(jsonPatch, "@configmaps/a", `{}`),
	patch(mergePatch, "@configmaps/a", `[]`),
	patch(mergePatch, "@configmaps/a", `{data: {k: 1}}`),
	patch(mergePatch, "@configmaps/a", `{data: {"not valid": "1"}}`),
	patch(mergePatch, "@configmaps/nothing", `{data: {k: "1"}}`),
	patch(mergePatch, "@configmaps/a", `{metadata: {name: b}}`),
	patch(mergePatch, "@configmaps/a", `{metadata: {resourceVersion: "1"}}`),
	patch(mergePatch, "@configmaps/a?fieldValidation=Strict", `{daat: {k: "1"}}`),
	patch(mergePatch, "@configmaps/a?fieldValidation=Warn", `{daat: {k: "1"}}`),
	patch(mergePatch, "@configmaps/a?fieldValidation=Foo", `{daat: {k: "1"}}`),
	patch(strategic, "@configmaps/a", `{"$patch": replace, data: {n: "1"}}`),
}
