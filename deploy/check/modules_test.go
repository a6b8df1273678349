package check

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Modules of which only files are read: they are fetched, held against their
// hash, and not compiled.
var modules = map[string]struct{ version, sum string }{
	"k8s.io/kubernetes":                                  {"v1.37.2", "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE="},
	"github.com/kedacore/keda/v2":                        {"v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="},
	"github.com/prometheus-operator/prometheus-operator": {"v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="},
}

// moduleFile reads a file of such a module.
func moduleFile(t *testing.T, module, path string) []byte {
	t.Helper()
	m := modules[module]
	out, err := exec.Command("go", "mod", "download", "-json", module+"@"+m.version).Output()
	var got struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &got); err != nil || jsonErr != nil || got.Error != "" {
		unavailable(t, "module %s %s: %v %v %s", module, m.version, err, jsonErr, got.Error)
	}
	if got.Sum != m.sum {
		t.Fatalf("module %s %s has hash %s, want %s", module, m.version, got.Sum, m.sum)
	}
	b, err := os.ReadFile(filepath.Join(got.Dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unavailable leaves a test out at the desk, and fails it in continuous
// integration.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
