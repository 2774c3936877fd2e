package api

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// TestTables prints testdata/objects.yaml as kubectl get -o wide would. In the
// bubble it is midnight, 1 January 2000.
func TestTables(t *testing.T) {
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		rows := readObjects(t)
		for _, k := range Table {
			if !k.Stored() {
				continue
			}
			printTable(&out, k, rows[k])
		}
	})
	golden := filepath.Join("testdata", "tables.golden")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("tables differ from %s (go test -update rewrites it):\n%s", golden, &out)
	}
}

func readObjects(t *testing.T) map[*Kind][]Object {
	f, err := os.Open(filepath.Join("testdata", "objects.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := map[*Kind][]Object{}
	for docs := yaml.NewYAMLReader(bufio.NewReader(f)); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		var head metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatal(err)
		}
		for _, k := range Table {
			if k.Storage().GroupVersionKind != head.GroupVersionKind() {
				continue
			}
			obj := k.Storage().New()
			if err := yaml.UnmarshalStrict(doc, obj); err != nil {
				t.Fatalf("%s: %v", doc, err)
			}
			rows[k] = append(rows[k], obj)
		}
	}
}

// printTable separates the wide columns with a bar.
func printTable(w io.Writer, k *Kind, rows []Object) {
	fmt.Fprintf(w, "%s\n", k.Resource)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer fmt.Fprintln(w)
	defer tab.Flush()
	line := func(cell func(Column) any) {
		var narrow, wide []string
		for _, c := range k.Columns {
			if text := fmt.Sprint(cell(c)); c.Priority == 0 {
				narrow = append(narrow, text)
			} else {
				wide = append(wide, text)
			}
		}
		if len(wide) > 0 {
			narrow = append(append(narrow, "|"), wide...)
		}
		fmt.Fprintln(tab, strings.Join(narrow, "\t"))
	}
	line(func(c Column) any { return strings.ToUpper(c.Name) })
	for _, obj := range rows {
		line(func(c Column) any { return c.Cell(obj) })
	}
}

func TestAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()}}
		age := ageColumn()
		for _, c := range []struct {
			pass time.Duration
			want string
		}{{0, "0s"}, {59 * time.Second, "59s"}, {61 * time.Second, "2m"}, {3 * time.Hour, "3h2m"}, {48 * time.Hour, "2d3h"}} {
			time.Sleep(c.pass)
			if got := age.Cell(p); got != c.want {
				t.Errorf("%v later: %v, want %s", c.pass, got, c.want)
			}
		}
	})
}

func TestRowConditions(t *testing.T) {
	for phase, want := range map[corev1.PodPhase]string{
		corev1.PodRunning: "", corev1.PodSucceeded: "The pod has completed successfully.", corev1.PodFailed: "The pod failed.",
	} {
		got := ""
		for _, c := range pods.RowConditions(&corev1.Pod{Status: corev1.PodStatus{Phase: phase}}) {
			got = c.Message
		}
		if got != want {
			t.Errorf("%s: %q, want %q", phase, got, want)
		}
	}
}

// TestEmptyRows: a bookmark of a watch in tables is a row of an object that says nothing.
func TestEmptyRows(t *testing.T) {
	for _, k := range Table {
		if !k.Stored() {
			continue
		}
		o := k.Storage().New()
		for _, c := range k.Columns {
			if c.Cell(o) == nil && c.Type == "string" {
				t.Errorf("%s: %s of nothing is null", k.Resource, c.Name)
			}
		}
		if k.RowConditions != nil {
			k.RowConditions(o)
		}
	}
}
