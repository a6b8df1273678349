// Package schematest lets tests hold messages against the JSON Schemas and walk
// their examples. Formats and embedded JSON are asserted, not merely noted.
package schematest

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/simline/simline/schemas"
)

// Base is the directory of every schema's $id.
const Base = "https://github.com/simline/simline/schemas/json/"

var compiler = sync.OnceValues(func() (*jsonschema.Compiler, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // no schema is fetched from anywhere
	files, err := fs.Glob(schemas.JSON, "json/*.json")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		b, err := schemas.JSON.ReadFile(name)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		if err := c.AddResource(Base+path.Base(name), doc); err != nil {
			return nil, err
		}
	}
	return c, nil
})

var mu sync.Mutex // a Compiler is not for several goroutines

// Types lists every message type that has a schema: "order.request.v1", …
func Types(tb testing.TB) []string {
	tb.Helper()
	files, err := fs.Glob(schemas.JSON, "json/*.json")
	if err != nil {
		tb.Fatal(err)
	}
	var types []string
	for _, name := range files {
		if t := strings.TrimSuffix(path.Base(name), ".json"); t != "common.v1" {
			types = append(types, t)
		}
	}
	return types
}

// Schema compiles the schema of a type, or of a part of it:
// "order.request.v1#/$defs/data".
func Schema(tb testing.TB, typ string) *jsonschema.Schema {
	tb.Helper()
	name, part, _ := strings.Cut(typ, "#")
	if part != "" {
		part = "#" + part
	}
	mu.Lock()
	defer mu.Unlock()
	c, err := compiler()
	if err != nil {
		tb.Fatalf("schemas: %v", err)
	}
	s, err := c.Compile(Base + name + ".json" + part)
	if err != nil {
		tb.Fatalf("schema %s: %v", typ, err)
	}
	return s
}

// Check says why message, JSON, does not fit the schema of typ, or nil.
func Check(tb testing.TB, typ string, message []byte) error {
	tb.Helper()
	s := Schema(tb, typ)
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(message))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// Example is one file under schemas/examples.
type Example struct {
	Type, Name string
	Good       bool
	Body       []byte
}

// Examples reads every example, in order of their paths.
func Examples(tb testing.TB) []Example {
	tb.Helper()
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "examples")
	var out []Example
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		parts := strings.Split(p, "/")
		if len(parts) != 3 || !slices.Contains([]string{"good", "bad"}, parts[1]) {
			tb.Errorf("%s is not <type>/good|bad/<name>.json", p)
			return nil
		}
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(p)))
		out = append(out, Example{Type: parts[0], Name: strings.TrimSuffix(parts[2], ".json"), Good: parts[1] == "good", Body: b})
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}
