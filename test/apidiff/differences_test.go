package apidiff

// difference is one way in which our answers are not kube-apiserver's, and why.
type difference struct {
	reason  string
	applies func(g group, r request, c change) bool
}

// differences are tried in order: the first that applies explains a change.
var differences = []difference{}
