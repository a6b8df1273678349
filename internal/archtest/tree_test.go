package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/simline/simline"

// pkg is one package of ours, as go list sees it.
type pkg struct {
	ImportPath, Name, Dir              string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

// rel is the package's path within the module: "internal/bus", "." for the root.
func (p pkg) rel() string { return rel(p.ImportPath) }

func rel(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// ours keeps those of imports that are in the module, by their path within it.
func ours(imports []string) []string {
	var out []string
	for _, i := range imports {
		if strings.HasPrefix(i, module+"/") {
			out = append(out, rel(i))
		}
	}
	return out
}

var list = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(stderr.String())
	}
	var pkgs []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, err
		}
		pkgs = append(pkgs, p)
	}
})

func packages(t *testing.T) []pkg {
	t.Helper()
	pkgs, err := list()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(pkgs) < 10 {
		t.Fatalf("go list found %d packages of ours: it looked elsewhere", len(pkgs))
	}
	return pkgs
}

// file is one Go source file, parsed.
type file struct {
	pkg  pkg
	name string // within the package: "worker.go"
	test bool   // of a test, or of a package that only tests use
	fset *token.FileSet
	ast  *ast.File
}

func (f file) path() string { return f.pkg.rel() + "/" + f.name }

// at is "internal/bus/lease.go:17", for a message.
func (f file) at(n ast.Node) string {
	p := f.fset.Position(n.Pos())
	return f.path() + ":" + strconv.Itoa(p.Line)
}

func (f file) lines() int { return f.fset.File(f.ast.FileStart).LineCount() }

var parsed = sync.OnceValues(func() ([]file, error) {
	pkgs, err := list()
	if err != nil {
		return nil, err
	}
	var files []file
	for _, p := range pkgs {
		for i, names := range [][]string{p.GoFiles, p.TestGoFiles, p.XTestGoFiles} {
			for _, name := range names {
				fset := token.NewFileSet()
				a, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
				if err != nil {
					return nil, err
				}
				files = append(files, file{pkg: p, name: name, test: i > 0 || isDouble(p.rel()), fset: fset, ast: a})
			}
		}
	}
	return files, nil
})

func sources(t *testing.T) []file {
	t.Helper()
	files, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// isDouble says that a package exists for tests alone: bustest, suppliertest, …
func isDouble(rel string) bool {
	base := rel[strings.LastIndexByte(rel, '/')+1:]
	return strings.HasSuffix(base, "test")
}

// under says that rel is one of the trees or lies beneath one.
func under(rel string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(t string) bool { return rel == t || strings.HasPrefix(rel, t+"/") })
}
