package faults

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

// TestRegisters shows that the checker notices what a broken server would do.
func TestRegisters(t *testing.T) {
	never := int64(math.MaxInt64)
	create := input{name: "r", verb: "create", value: "a"}
	swap := input{name: "r", verb: "swap", old: "a", value: "b"}
	get := input{name: "r", verb: "get"}
	done := output{done: true}
	was := func(value string) output { return output{done: true, value: value} }
	for _, c := range []struct {
		name string
		want porcupine.CheckResult
		ops  []porcupine.Operation // in order; Call and Return follow from it but for unknown ones
	}{
		{"one after the other", porcupine.Ok, []porcupine.Operation{
			{Input: create, Output: done}, {Input: swap, Output: done}, {Input: get, Output: was("b")}}},
		{"an acknowledged write is lost", porcupine.Illegal, []porcupine.Operation{
			{Input: create, Output: done}, {Input: swap, Output: done}, {Input: get, Output: was("a")}}},
		{"two swap the same", porcupine.Illegal, []porcupine.Operation{
			{Input: create, Output: done}, {Input: swap, Output: done}, {Input: swap, Output: done}}},
		{"a swap fails without reason", porcupine.Illegal, []porcupine.Operation{
			{Input: create, Output: done}, {Input: swap, Output: output{}}}},
		{"an unknown write took effect", porcupine.Ok, []porcupine.Operation{
			{Input: create, Output: done}, {Input: swap, Output: output{unknown: true}, Return: never}, {Input: get, Output: was("b")}}},
		{"an unknown write had no effect", porcupine.Ok, []porcupine.Operation{
			{Input: create, Output: done}, {Input: swap, Output: output{unknown: true}, Return: never}, {Input: get, Output: was("a")}}},
		{"an unknown write took effect and was undone", porcupine.Illegal, []porcupine.Operation{
			{Input: create, Output: done}, {Input: swap, Output: output{unknown: true}, Return: never},
			{Input: get, Output: was("b")}, {Input: get, Output: was("a")}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.ops {
				o := &c.ops[i]
				o.ClientId, o.Call, o.Return = i, int64(2*i), max(o.Return, int64(2*i+1))
			}
			model := registers.ToModel()
			if got := porcupine.CheckOperationsTimeout(model, c.ops, 0); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
