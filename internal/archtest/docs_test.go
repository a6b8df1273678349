package archtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the top of the tree.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// pages reads every Markdown page by its path from the root.
func pages(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "deploy/*.md", "deploy/*/*.md", "bench/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			rel, _ := filepath.Rel(root, name)
			out[rel] = string(b)
		}
	}
	if len(out) < 5 {
		t.Fatalf("only %d pages under %s", len(out), root)
	}
	return out
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	root := root(t)
	for page, text := range pages(t, root) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
	}
}

var (
	makeTarget = regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z-]*)")
	codeName   = regexp.MustCompile("`(ingest|orderer|cdrpull|reconciler|archiver)\\.([A-Za-z]+)`")
)

// A command or a function that a page names is there.
func TestPagesNameWhatIsThere(t *testing.T) {
	root := root(t)
	b, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	functions := map[string]bool{}
	for _, f := range sources(t) {
		for _, name := range declared(f) {
			functions[f.pkg.Name+"."+name] = true
		}
	}
	for page, text := range pages(t, root) {
		for _, m := range makeTarget.FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(m[1]) + `:`).Match(b) {
				t.Errorf("%s names make %s, which the Makefile does not have", page, m[1])
			}
		}
		for _, m := range codeName.FindAllStringSubmatch(text, -1) {
			if !functions[m[1]+"."+m[2]] {
				t.Errorf("%s names the function %s.%s, which is not there", page, m[1], m[2])
			}
		}
	}
}
