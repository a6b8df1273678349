package archtest

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var workers = []string{"internal/ingest", "internal/orderer", "internal/cdrpull", "internal/reconciler", "internal/archiver"}

// anything but simulators, the development stack, the end-to-end runs and
// doubles: what goes to production.
var production = []string{"schemas", "internal/wire", "internal/order", "internal/cdr", "internal/supplier", "internal/bus", "internal/ledger",
	"internal/warehouse", "internal/ftpdir", "internal/service", "internal/trace"}

// mayImport is the import column of the design's package table: for each tree of
// packages, the trees of ours that its own code (not its tests) may import. The
// first row that a package lies under counts. A package may always import what
// lies beneath it, and a double (bustest) its owner.
var mayImport = []struct {
	tree string
	from []string
}{
	{"schemas/schematest", []string{"schemas"}},
	{"schemas", nil},
	{"cmd/simctl", slices.Concat(production, workers, []string{"internal/operator", "internal/console", "internal/devstack", "internal/e2e"})}, // file by file below
	{"cmd", slices.Concat(production, workers)},
	{"internal/wire", []string{"internal/order"}},
	{"internal/order", nil},
	{"internal/cdr/cdrgen", []string{"internal/cdr"}}, // files for benchmarks
	{"internal/cdr", nil},
	{"internal/supplier/suppliertest", []string{"internal/order"}},
	{"internal/supplier/eiotclub", []string{"internal/order", "internal/supplier"}},
	{"internal/supplier/esimfly", []string{"internal/order", "internal/supplier"}},
	{"internal/supplier", []string{"internal/order", "internal/trace"}},
	{"internal/bus/bustest", []string{"internal/devstack"}},
	{"internal/bus", []string{"internal/wire", "internal/order", "internal/trace"}},
	{"internal/ledger", []string{"internal/order", "internal/wire", "internal/bus", "internal/trace"}},
	{"internal/warehouse/warehousetest", []string{"internal/devstack", "schemas"}},
	{"internal/warehouse", []string{"schemas", "internal/cdr", "internal/order"}},
	{"internal/ftpdir/ftptest", []string{"internal/devstack"}},
	{"internal/ftpdir", nil},
	{"internal/service", []string{"internal/trace"}},
	{"internal/trace", nil},
	{"internal/ingest", production},
	{"internal/orderer", production},
	{"internal/cdrpull", production},
	{"internal/reconciler", production},
	{"internal/archiver", production},
	{"internal/operator", slices.Concat(production, []string{"internal/orderer"})},                        // its switches
	{"internal/console", slices.Concat(production, []string{"internal/operator", "internal/reconciler"})}, // its findings
	{"internal/sim", []string{"internal/supplier", "internal/cdr", "internal/sim"}},
	{"internal/devstack", []string{"internal/sim", "internal/bus", "internal/warehouse", "internal/devstack"}},
	{"internal/e2e", slices.Concat(production, []string{"internal/devstack", "internal/sim", "internal/e2e"})},
	{"internal/chaos", slices.Concat(production, []string{"internal/devstack", "internal/sim", "internal/e2e"})},
	{"internal/soak", slices.Concat(production, []string{"internal/devstack", "internal/sim", "internal/e2e"})},
	{"internal/tools", slices.Concat(production, workers, []string{"internal/console"})},
	{"internal/archtest", nil},
	{"deploy", nil},
	{"bench", slices.Concat(production, workers, []string{"internal/operator", "internal/console", "internal/devstack", "internal/sim", "internal/e2e"})},
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		r := p.rel()
		row := slices.IndexFunc(mayImport, func(row struct {
			tree string
			from []string
		}) bool {
			return under(r, row.tree)
		})
		if row < 0 {
			t.Errorf("%s stands in no row of the table of imports", r)
			continue
		}
		for _, imp := range ours(p.Imports) {
			if under(imp, r) || isDouble(r) && imp == path.Dir(r) {
				continue
			}
			if !under(imp, mayImport[row].from...) {
				t.Errorf("%s may not import %s: it may import %v", r, imp, mayImport[row].from)
			}
		}
	}
}

// Workers meet in messages, in the ledger and in tables, never in code.
func TestNoWorkerImportsAnother(t *testing.T) {
	for _, p := range packages(t) {
		for _, w := range workers {
			if !under(p.rel(), w) {
				continue
			}
			for _, imp := range slices.Concat(ours(p.Imports), ours(p.TestImports), ours(p.XTestImports)) {
				if under(imp, workers...) && !under(imp, w) {
					t.Errorf("%s imports %s, another worker", p.rel(), imp)
				}
			}
		}
	}
}

// Doubles are for tests: no code that ships imports one.
func TestDoublesOnlyInTests(t *testing.T) {
	for _, p := range packages(t) {
		if isDouble(p.rel()) || under(p.rel(), "internal/archtest", "bench") { // bench measures with testing.Benchmark
			continue
		}
		for _, imp := range ours(p.Imports) {
			if isDouble(imp) {
				t.Errorf("%s imports %s outside of its tests", p.rel(), imp)
			}
		}
		for _, imp := range p.Imports {
			if imp == "testing" || strings.HasPrefix(imp, "pgregory.net/rapid") {
				t.Errorf("%s imports %s outside of its tests", p.rel(), imp)
			}
		}
	}
}

// Of simctl only the commands that run everything at the desk know the
// development stack.
func TestOnlyDevCommandsImportTheDevStack(t *testing.T) {
	allowed := []string{"dev", "run", "demo", "engine"}
	for _, f := range sources(t) {
		if f.test || f.pkg.rel() != "cmd/simctl" || slices.ContainsFunc(allowed, func(name string) bool {
			return f.name == name+".go" || strings.HasPrefix(f.name, name+"_")
		}) {
			continue
		}
		for _, imp := range f.ast.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			if under(rel(name), "internal/devstack", "internal/e2e", "internal/sim") {
				t.Errorf("%s imports %s: only %v may", f.at(imp), rel(name), allowed)
			}
		}
	}
}
