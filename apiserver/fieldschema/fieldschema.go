// Package fieldschema is what server-side apply knows of the types: which lists are maps
// and by which keys, which values change only as a whole, what a missing field means.
//
// Upstream counterpart: the schema in client-go/applyconfigurations, of which it is a copy
// that is quicker to read: 16,000 lines of YAML take a fifth of the CPU time in which a
// whole lab starts. Nothing flows in; the schema flows out. A test compares the copy with
// the original, and renews it (go generate).
package fieldschema

import (
	"bytes"
	_ "embed"
	"encoding/gob"
	"fmt"
	"sync"

	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

//go:generate go test -run TestCopy -update

//go:embed schema.gob
var encoded []byte

func init() { gob.Register(map[any]any{}) } // what defaults are, beside scalars

// Parser has the schema. It is shared: do not change it.
var Parser = sync.OnceValue(func() *typed.Parser {
	parser := &typed.Parser{}
	if err := gob.NewDecoder(bytes.NewReader(encoded)).Decode(&parser.Schema); err != nil {
		panic(fmt.Sprintf("the schema that is part of this program: %v", err))
	}
	return parser
})
