package schemas_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
	"github.com/simline/simline/schemas"
	"github.com/simline/simline/schemas/schematest"
)

// Each documented event has a schema of its own, and the code that reads
// notifications knows it; both forms of nested data read alike.
func TestNotificationsReadLikeTheirSchemas(t *testing.T) {
	read := map[string][]eiotclub.Notification{}
	for _, e := range schematest.Examples(t) {
		event, ok := strings.CutPrefix(strings.TrimSuffix(e.Type, ".v1"), "webhook.")
		if !ok || !e.Good {
			continue
		}
		t.Run(event+"/"+e.Name, func(t *testing.T) {
			env, err := wire.ParseEnvelope(e.Body)
			if err != nil {
				t.Fatal(err)
			}
			n, err := eiotclub.ParseNotification(env.Data)
			if err != nil {
				t.Fatal(err)
			}
			if n.Event != event || !eiotclub.KnownEvent(event) {
				t.Errorf("read as %q (known: %v)", n.Event, eiotclub.KnownEvent(n.Event))
			}
			read[event] = append(read[event], n)
		})
	}
	if len(read) != 20 {
		t.Errorf("%d events have schemas, 20 are documented: %v", len(read), slices.Sorted(maps.Keys(read)))
	}
	for event, ns := range read {
		for _, n := range ns[1:] {
			if diff := cmp.Diff(ns[0], n); diff != "" {
				t.Errorf("%s: two forms of one notification read differently:\n%s", event, diff)
			}
		}
	}
}

func TestPackageFieldsAgree(t *testing.T) {
	b, err := schemas.JSON.ReadFile("json/webhook.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Defs map[string]struct {
			Properties map[string]any
		} `json:"$defs"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	described := map[string]any{}
	for _, part := range []string{"package", "cardPackage", "cloudPackage"} {
		maps.Copy(described, doc.Defs[part].Properties)
	}
	var inGo []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[eiotclub.Package]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inGo = append(inGo, name)
	}
	slices.Sort(inGo)
	if diff := cmp.Diff(inGo, slices.Sorted(maps.Keys(described))); diff != "" {
		t.Errorf("fields of a package in Go (-) and in the schema (+):\n%s", diff)
	}
}
