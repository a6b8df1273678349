package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// rule is one alert of the PrometheusRule.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type groups struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

func ruleGroups(t *testing.T) groups {
	t.Helper()
	for _, o := range build(t, "overlays/prod") {
		if o.Kind == "PrometheusRule" {
			var r struct{ Spec groups }
			if err := yaml.Unmarshal(o.YAML, &r); err != nil {
				t.Fatal(err)
			}
			return r.Spec
		}
	}
	t.Fatal("there is no PrometheusRule")
	return groups{}
}

// promtool is on the PATH, or taken out of Debian's package, which is not
// installed: it would start a server.
func promtool(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("promtool"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(cache, "simline", "promtool")
	path := filepath.Join(home, "usr/bin/promtool")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	tmp := t.TempDir()
	script := `cd "$1" && apt-get download prometheus && dpkg-deb -x prometheus_*.deb out && mkdir -p "$2/usr/bin" && mv out/usr/bin/promtool "$2/usr/bin/"`
	run := func() ([]byte, error) { return exec.Command("sh", "-c", script, "sh", tmp, home).CombinedOutput() }
	out, err := run()
	if err != nil { // a fresh machine has no package lists
		_ = exec.Command("apt-get", "update", "-qq").Run()
		out, err = run()
	}
	if err != nil {
		unavailable(t, "no promtool: apt-get download prometheus: %v\n%s", err, out)
	}
	return path
}

// The rules, and what they say in the cases of rules_cases.yaml.
func TestAlertRules(t *testing.T) {
	tool := promtool(t)
	dir := t.TempDir()
	b, err := yaml.Marshal(ruleGroups(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"rules.yaml": b, "cases.yaml": readFile(t, "rules_cases.yaml")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "cases.yaml"}} {
		cmd := exec.Command(tool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each alert has its page, each page its alert, and each a case in which it fires.
func TestEachAlertHasItsPage(t *testing.T) {
	cases := string(readFile(t, "rules_cases.yaml"))
	var alerts []string
	for _, g := range ruleGroups(t).Groups {
		for _, r := range g.Rules {
			alerts = append(alerts, r.Alert)
			if want := "docs/alerts/" + r.Alert + ".md"; r.Annotations["runbook"] != want {
				t.Errorf("%s: runbook is %q, want %q", r.Alert, r.Annotations["runbook"], want)
			}
			if r.For == "" || r.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
				t.Errorf("%s: has no duration, no summary, or no severity page or ticket", r.Alert)
			}
			page, err := os.ReadFile("../../docs/alerts/" + r.Alert + ".md")
			if err != nil {
				t.Errorf("%s: %v", r.Alert, err)
				continue
			}
			for _, part := range []string{"# " + r.Alert + "\n", "**Meaning.**", "**First look.**", "**Fix.**"} {
				if !strings.Contains(string(page), part) {
					t.Errorf("%s: its page has no %q", r.Alert, part)
				}
			}
			if strings.Count(cases, "alertname: "+r.Alert+"\n") < 2 {
				t.Errorf("%s: rules_cases.yaml has not both a case in which it fires and one in which it does not", r.Alert)
			}
		}
	}
	pages, err := filepath.Glob("../../docs/alerts/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		if name := strings.TrimSuffix(filepath.Base(p), ".md"); name != "README" && !slices.Contains(alerts, name) {
			t.Errorf("%s: there is no such alert", p)
		}
	}
}

// metricNames are those of the reference page, which is made from the code.
func metricNames(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(simline_[a-z_]+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(string(readFile(t, "../../docs/reference/metrics.md")), -1) {
		labels := regexp.MustCompile("[a-z_]+").FindAllString(m[3], -1)
		out[m[1]] = labels
		if m[2] == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				out[m[1]+suffix] = append(slices.Clone(labels), "le")
			}
		}
	}
	if len(out) < 30 {
		t.Fatalf("docs/reference/metrics.md has %d metrics only", len(out))
	}
	return out
}
