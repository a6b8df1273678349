package check

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// schemaDir writes the JSON Schemas of Kubernetes' own kinds and of the custom
// resources, in the layout that kubeconform looks for, and refusing unknown names.
func schemaDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	kubernetesSchemas(t, dir)
	crdSchema(t, dir, "github.com/kedacore/keda/v2", "config/crd/bases/keda.sh_scaledobjects.yaml")
	crdSchema(t, dir, "github.com/kedacore/keda/v2", "config/crd/bases/keda.sh_triggerauthentications.yaml")
	for _, kind := range []string{"podmonitors", "prometheusrules"} {
		crdSchema(t, dir, "github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd/monitoring.coreos.com_"+kind+".yaml")
	}
	return dir
}

// schemaLocation is the layout as kubeconform's template.
func schemaLocation(dir string) string { return dir + "/{{.ResourceKind}}{{.KindSuffix}}.json" }

func writeSchema(t *testing.T, dir, kind, group, version string, schema any) {
	t.Helper()
	b, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	// kubeconform's KindSuffix: the group's first label and the version.
	name := strings.ToLower(kind) + "-" + version
	if group != "" {
		first, _, _ := strings.Cut(group, ".")
		name = strings.ToLower(kind) + "-" + first + "-" + version
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// kubernetesSchemas takes the kinds out of the API server's own description.
func kubernetesSchemas(t *testing.T, dir string) {
	t.Helper()
	var doc struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(moduleFile(t, "k8s.io/kubernetes", "api/openapi-spec/swagger.json"), &doc); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{"ConfigMap": true, "Deployment": true, "Job": true, "Namespace": true, "NetworkPolicy": true, "PodDisruptionBudget": true,
		"Service": true, "ServiceAccount": true, "StatefulSet": true, "Ingress": true, "PersistentVolumeClaim": true}
	for _, def := range doc.Definitions {
		strict(def)
	}
	for name, def := range doc.Definitions {
		gvks, _ := def["x-kubernetes-group-version-kind"].([]any)
		for _, g := range gvks {
			gvk, _ := g.(map[string]any)
			kind := fmt.Sprint(gvk["kind"])
			if !kinds[kind] {
				continue
			}
			writeSchema(t, dir, kind, fmt.Sprint(gvk["group"]), fmt.Sprint(gvk["version"]),
				map[string]any{"$ref": "#/definitions/" + name, "definitions": closure(doc.Definitions, name)})
		}
	}
}

// closure is a definition and all that it refers to.
func closure(all map[string]map[string]any, root string) map[string]any {
	out := map[string]any{}
	var visit func(any)
	add := func(name string) {
		if _, seen := out[name]; !seen {
			out[name] = all[name]
			visit(all[name])
		}
	}
	visit = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				add(strings.TrimPrefix(ref, "#/definitions/"))
			}
			for _, child := range v {
				visit(child)
			}
		case []any:
			for _, child := range v {
				visit(child)
			}
		}
	}
	add(root)
	return out
}

// crdSchema takes the versions out of a CustomResourceDefinition.
func crdSchema(t *testing.T, dir, module, path string) {
	t.Helper()
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(moduleFile(t, module, path), &crd); err != nil {
		t.Fatal(err)
	}
	for _, v := range crd.Spec.Versions {
		strict(v.Schema.OpenAPIV3Schema)
		writeSchema(t, dir, crd.Spec.Names.Kind, crd.Spec.Group, v.Name, v.Schema.OpenAPIV3Schema)
	}
}

// strict makes a schema refuse names that it does not know, and lets "int or
// string" be either.
func strict(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["format"] == "int-or-string" {
			delete(v, "type")
			delete(v, "format")
			v["oneOf"] = []any{map[string]any{"type": "string"}, map[string]any{"type": "integer"}}
		}
		_, hasProperties := v["properties"].(map[string]any)
		_, says := v["additionalProperties"]
		if hasProperties && !says && v["x-kubernetes-preserve-unknown-fields"] != true {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			strict(child)
		}
	case []any:
		for _, child := range v {
			strict(child)
		}
	}
}
