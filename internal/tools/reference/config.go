package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// setting is one environment variable of one struct.
type setting struct {
	name, def, desc, secret, why string
	required                     bool
}

// settings is a struct with env tags.
type settings struct {
	key    string // "service.Settings"
	doc    string
	own    []setting
	file   []setting // fields of ACCOUNTS_FILE instead
	parts  []string  // structs of its own package that it embeds
	shared []string  // keys of the structs that it embeds
	told   bool      // it stands on the page
}

var processes = []string{"ingest", "orderer", "cdrpull", "reconciler", "archiver", "console"}

func configPage() ([]byte, error) {
	found := map[string]*settings{}
	dirs := []string{"internal/service", "cmd/simctl"}
	for _, p := range processes {
		dirs = append(dirs, "internal/"+p)
	}
	for _, dir := range dirs {
		if err := readSettings(dir, found); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	b.WriteString(`# Configuration

Made from the code by ` + "`make generate`" + `; do not edit. Everything is an environment variable. Durations are written as Go
writes them (` + "`90s`, `1h30m`" + `). A variable marked *secret* may also be given as ` + "`NAME_FILE`" + `, the path of a file that holds
it. ` + "`<worker> -check`" + ` validates the configuration, prints it with secrets masked, and exits.
`)
	used := []string{}
	for _, p := range processes {
		c, ok := found[p+".Config"]
		if !ok {
			return nil, fmt.Errorf("%s has no Config", p)
		}
		for _, key := range c.shared {
			if !slices.Contains(used, key) {
				used = append(used, key)
			}
		}
	}
	slices.Sort(used)
	slices.Reverse(used) // what every worker has first, accounts after it
	for _, key := range used {
		s, ok := found[key]
		if !ok {
			return nil, fmt.Errorf("%s is not to be found", key)
		}
		s.told = true
		fmt.Fprintf(&b, "\n## %s\n\n", title(key))
		if key == "service.AccountSettings" {
			b.WriteString("One account of each supplier, under the name default, from plain variables; or any number from `ACCOUNTS_FILE`.\n\n")
		}
		table(&b, s.own)
	}
	accountsFile(&b, found)
	for _, p := range processes {
		s := found[p+".Config"]
		s.told = true
		fmt.Fprintf(&b, "\n## %s\n\n", p)
		var also []string
		for _, key := range s.shared {
			also = append(also, "["+title(key)+"](#"+strings.ReplaceAll(strings.ToLower(title(key)), " ", "-")+")")
		}
		if len(also) > 0 {
			fmt.Fprintf(&b, "And: %s.\n\n", strings.Join(also, ", "))
		}
		for _, part := range s.parts {
			if in, ok := found[p+"."+part]; ok {
				in.told, s.own = true, append(s.own, in.own...)
			}
		}
		table(&b, s.own)
	}
	var rest []setting
	for _, key := range sortedKeys(found) {
		if strings.HasPrefix(key, "main.") {
			found[key].told = true
			for _, o := range found[key].own {
				if !slices.ContainsFunc(rest, func(r setting) bool { return r.name == o.name }) {
					rest = append(rest, o)
				}
			}
		}
	}
	b.WriteString("\n## simctl\n\n")
	table(&b, rest)
	var faults []error
	for _, key := range sortedKeys(found) {
		if s := found[key]; len(s.own) > 0 && !s.told {
			faults = append(faults, fmt.Errorf("the variables of %s stand nowhere on the page", key))
		}
	}
	for name, meaning := range described {
		if meaning == "" {
			faults = append(faults, fmt.Errorf("nothing says what %s means", name))
		}
	}
	return b.Bytes(), errors.Join(faults...)
}

// accountsFile describes the fields of ACCOUNTS_FILE.
func accountsFile(b *bytes.Buffer, found map[string]*settings) {
	b.WriteString("\n### ACCOUNTS_FILE\n\n```yaml\neiotclub:\n  default: {app_key: …, app_secret_file: /run/secrets/eiotclub, cdr: {account: \"10001\", ftp_url: …}}\n" +
		"esimfly:\n  default: {access_code: …, secret_key_file: /run/secrets/esimfly}\n```\n\nUnknown names are refused.\n\n| field | meaning |\n|---|---|\n")
	for _, part := range []struct{ key, prefix string }{{"service.EIOTCLUBAccount", "eiotclub.NAME."}, {"service.CDRAccount", "eiotclub.NAME.cdr."}, {"service.ESIMFlyAccount", "esimfly.NAME."}} {
		for _, f := range found[part.key].file {
			fmt.Fprintf(b, "| `%s%s` | %s |\n", part.prefix, f.name, f.why)
		}
	}
}

func title(key string) string {
	switch key {
	case "service.Settings":
		return "Every worker"
	case "service.AccountSettings":
		return "Accounts"
	}
	return key
}

// described remembers what a variable means from where it was described last.
var described = map[string]string{}

func table(b *bytes.Buffer, list []setting) {
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, s := range list {
		def := "–"
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		if s.required {
			def = "must be set"
		}
		meaning := s.desc
		if meaning == "" {
			meaning = described[s.name] // said where a worker reads it
		}
		described[s.name] = meaning
		if s.secret != "" {
			meaning += " (*secret*)"
		}
		if s.why != "" {
			meaning = strings.TrimSpace(strings.TrimSuffix(meaning, ".") + ". " + s.why)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", s.name, def, meaning)
	}
}

// readSettings finds every struct with env tags in dir's sources.
func readSettings(dir string, found map[string]*settings) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				ts, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if st, ok := ts.Type.(*ast.StructType); ok {
					s := readStruct(st)
					s.key, s.doc = f.Name.Name+"."+ts.Name.Name, oneLine(g.Doc.Text())
					if len(s.own)+len(s.shared)+len(s.file) > 0 {
						found[s.key] = &s
					}
				}
			}
		}
	}
	return nil
}

// readStruct lists a struct's tagged fields and the structs of settings in it.
func readStruct(st *ast.StructType) settings {
	var s settings
	for _, field := range st.Fields.List {
		if sel, ok := field.Type.(*ast.SelectorExpr); ok && field.Tag == nil {
			if x, ok := sel.X.(*ast.Ident); ok && strings.HasSuffix(sel.Sel.Name, "Settings") {
				s.shared = append(s.shared, x.Name+"."+sel.Sel.Name)
			}
			continue
		}
		if id, ok := field.Type.(*ast.Ident); ok && field.Tag == nil && len(field.Names) == 0 {
			s.parts = append(s.parts, id.Name)
		}
		if field.Tag == nil {
			continue
		}
		tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
		if name := tag.Get("yaml"); name != "" && name != "cdr" {
			s.file = append(s.file, setting{name: name, why: oneLine(field.Doc.Text() + field.Comment.Text())})
		}
		name, options, _ := strings.Cut(tag.Get("env"), ",")
		if name == "" {
			continue
		}
		s.own = append(s.own, setting{name: name, def: tag.Get("envDefault"), desc: tag.Get("desc"), secret: tag.Get("secret"),
			why: oneLine(field.Doc.Text()), required: strings.Contains(options, "required") || strings.Contains(options, "notEmpty")})
	}
	return s
}

// oneLine is a comment as one line of a table.
func oneLine(text string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;").Replace(strings.Join(strings.Fields(text), " "))
}

func sortedKeys(m map[string]*settings) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
