package deploy

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// What the page for operators says to kubectl is of objects, directories and files
// that there are: the part of its path that one machine cannot walk.
func TestPageNamesWhatThereIs(t *testing.T) {
	page, err := os.ReadFile("../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	base := read(t, "k8s/base/*.yaml")
	has := func(kind, name string) bool {
		for _, m := range base {
			if strings.EqualFold(m.Kind, kind) && m.Metadata.Name == name {
				return true
			}
		}
		return false
	}
	var mounted []string
	for _, m := range base {
		for _, v := range m.Spec.Template.Spec.Volumes {
			mounted = append(mounted, v.Secret.SecretName)
		}
	}
	commands := regexp.MustCompile("(?m)^kubectl [^#\n]*|`kubectl [^`]*`").FindAllString(string(page), -1)
	for _, c := range commands {
		for _, m := range regexp.MustCompile(`\b(deployment|statefulset|job)[/ ]([a-z]+)`).FindAllStringSubmatch(c, -1) {
			if !has(m[1], m[2]) {
				t.Errorf("%s: there is no %s %s", c, m[1], m[2])
			}
		}
		for _, m := range regexp.MustCompile(`-k (\S+)`).FindAllStringSubmatch(c, -1) {
			if _, err := os.Stat("../" + m[1] + "/kustomization.yaml"); err != nil {
				t.Errorf("%s: %v", c, err)
			}
		}
		for _, m := range regexp.MustCompile(`secret generic (\S+)`).FindAllStringSubmatch(c, -1) {
			if !strings.Contains(strings.Join(mounted, " ")+" ", m[1]+" ") {
				t.Errorf("%s: nobody mounts a secret %s", c, m[1])
			}
		}
	}
	if len(commands) < 8 {
		t.Errorf("only %d commands: the test looks past them", len(commands))
	}
	for _, m := range regexp.MustCompile("`(deploy/[a-zA-Z0-9_./-]+|overlays/[a-z-]+|clickhouse/[a-z.]+)`").FindAllStringSubmatch(string(page), -1) {
		path := m[1]
		switch {
		case strings.HasPrefix(path, "overlays/"):
			path = "deploy/k8s/" + path
		case strings.HasPrefix(path, "clickhouse/"):
			path = "deploy/" + path
		}
		if _, err := os.Stat("../" + path); err != nil {
			t.Errorf("the page speaks of %s: %v", m[1], err)
		}
	}
}

// The page's table of memory says what the manifests ask for, worker by worker.
func TestPageTellsTheLimits(t *testing.T) {
	page, err := os.ReadFile("../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\w+) \|.*\| (\d+) MiB \| (\d+) MiB \|$`).FindAllStringSubmatch(string(page), -1) {
		told[m[1]] = m[2] + "Mi " + m[3] + "Mi"
	}
	for _, m := range read(t, "k8s/base/*.yaml") {
		if configs()[m.Metadata.Name] == nil || m.Spec.Template.Spec.Containers == nil {
			continue
		}
		r := m.Spec.Template.Spec.Containers[0].Resources
		if want := r.Requests.Memory + " " + r.Limits.Memory; told[m.Metadata.Name] != want {
			t.Errorf("%s asks for %s, the page says %q", m.Metadata.Name, want, told[m.Metadata.Name])
		}
	}
	if len(told) != len(configs()) {
		t.Errorf("the page tells of %v", told)
	}
}
