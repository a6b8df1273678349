package archtest

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func calleeName(c *ast.CallExpr) string {
	switch fun := c.Fun.(type) {
	case *ast.SelectorExpr:
		return fun.Sel.Name
	case *ast.Ident:
		return fun.Name
	}
	return ""
}

// declared lists the functions and methods that f declares.
func declared(f file) []string {
	var out []string
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			out = append(out, fn.Name.Name)
		}
	}
	return out
}

// uses lists where f names pkg.name, by the name under which it imports path.
func uses(f file, path, name string) []ast.Node {
	as := path[strings.LastIndexByte(path, '/')+1:]
	imported := false
	for _, imp := range f.ast.Imports {
		if p, _ := strconv.Unquote(imp.Path.Value); p == path {
			imported = true
			if imp.Name != nil {
				as = imp.Name.Name
			}
		}
	}
	if !imported {
		return nil
	}
	var out []ast.Node
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == name {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == as {
				out = append(out, s)
			}
		}
		return true
	})
	return out
}

// A main is wiring: one screen.
func TestMainsAreShort(t *testing.T) {
	for _, f := range sources(t) {
		if f.pkg.Name == "main" && under(f.pkg.rel(), "cmd") && f.name == "main.go" && f.lines() > 81 {
			t.Errorf("%s has %d lines, wants at most 80", f.path(), f.lines()-1)
		}
	}
}

// Above 400 lines a file gets a hard look, above 550 it is split.
func TestFilesAreShort(t *testing.T) {
	for _, f := range sources(t) {
		switch n := f.lines() - 1; {
		case f.test:
		case n > 550:
			t.Errorf("%s has %d lines: split it", f.path(), n)
		case n > 400:
			t.Logf("%s has %d lines: look hard whether it is one thing", f.path(), n)
		}
	}
}

// Who knows one worker knows five.
func TestWorkersHaveTheSameFiles(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(workers, p.rel()) {
			continue
		}
		for _, want := range []string{"doc.go", "config.go", "metrics.go", "worker.go"} {
			if !slices.Contains(p.GoFiles, want) {
				t.Errorf("%s has no %s", p.rel(), want)
			}
		}
	}
}

// Each package says what goes in, what comes out, and what it must not do: at
// least it says something.
func TestPackagesHaveAComment(t *testing.T) {
	said := map[string]bool{}
	for _, f := range sources(t) {
		if f.ast.Doc.Text() != "" {
			said[f.pkg.rel()] = true
		}
	}
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && !said[p.rel()] {
			t.Errorf("%s has no package comment", p.rel())
		}
	}
}

var name = regexp.MustCompile(`^(orders|webhooks|cdr|recon|tasks|dead|audit)\.v1(\.|$)`)

// Subjects and streams stand in internal/bus/topology.go alone. Tests may spell
// them out: that is how a wrong table is found.
func TestNamesStandInTheTopology(t *testing.T) {
	streams := []string{"ORDERS", "ORDER_EVENTS", "EVIDENCE", "WEBHOOKS", "CDR_EVENTS", "FINDINGS", "TASKS", "DEAD", "AUDIT"}
	for _, f := range sources(t) {
		if f.test || under(f.pkg.rel(), "internal/bus", "internal/archtest") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field: // struct tags are descriptions
				return n.Tag == nil
			case *ast.BasicLit:
				if n.Kind != token.STRING {
					return true
				}
				text, _ := strconv.Unquote(n.Value)
				if name.MatchString(text) || slices.Contains(streams, text) {
					t.Errorf("%s spells out %q: use the bus package's name for it", f.at(n), text)
				}
			}
			return true
		})
	}
}

// Clients and servers of http's own have no time-outs, and are everyone's.
func TestNoDefaultHTTP(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		for _, name := range []string{"DefaultClient", "DefaultTransport", "DefaultServeMux", "Get", "Post", "PostForm", "Head", "ListenAndServe", "HandleFunc", "Handle"} {
			for _, n := range uses(f, "net/http", name) {
				t.Errorf("%s uses http.%s: make a client or server with time-outs", f.at(n), name)
			}
		}
	}
}

// A test that sleeps is slow on a good day and wrong on a bad one.
func TestNoSleepInTests(t *testing.T) {
	for _, f := range sources(t) {
		if !f.test {
			continue
		}
		if slices.ContainsFunc(f.ast.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` }) {
			continue // in a bubble sleeping costs nothing
		}
		for _, n := range uses(f, "time", "Sleep") {
			t.Errorf("%s sleeps: wait for a signal, poll a condition with a deadline, or use testing/synctest", f.at(n))
		}
	}
}

// What is unfinished is an issue, not a comment, and nothing points at the
// machine that it was written on.
func TestNoLeftovers(t *testing.T) {
	marker := regexp.MustCompile(`\b(TODO|FIXME)\b|//\s*nolint|panic\("not implemented`)
	machine := regexp.MustCompile(`"/(?:work/|root/|home/[a-z])`)
	for _, f := range sources(t) {
		if f.pkg.rel() == "internal/archtest" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(f.pkg.Dir, f.name))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if m := marker.FindString(line); m != "" {
				t.Errorf("%s:%d holds %q", f.path(), i+1, m)
			}
			if m := machine.FindString(line); m != "" {
				t.Errorf("%s:%d holds a path of one machine: %s", f.path(), i+1, m)
			}
		}
	}
}
