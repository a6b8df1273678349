package schemas_test

import (
	"testing"

	"github.com/simline/simline/schemas/schematest"
)

// Every good example fits its schema, no bad one does, and no type is without
// both.
func TestExamples(t *testing.T) {
	type count struct{ good, bad int }
	seen := map[string]count{}
	for _, typ := range schematest.Types(t) {
		seen[typ] = count{}
	}
	for _, e := range schematest.Examples(t) {
		c, known := seen[e.Type]
		if !known {
			t.Errorf("examples of %s, which has no schema", e.Type)
			continue
		}
		kind := "bad"
		if e.Good {
			kind = "good"
			c.good++
		} else {
			c.bad++
		}
		seen[e.Type] = c
		t.Run(e.Type+"/"+kind+"/"+e.Name, func(t *testing.T) {
			err := schematest.Check(t, e.Type, e.Body)
			switch {
			case e.Good && err != nil:
				t.Errorf("refused: %v", err)
			case !e.Good && err == nil:
				t.Error("accepted")
			}
		})
	}
	for typ, c := range seen {
		if c.good == 0 || c.bad == 0 {
			t.Errorf("%s has %d good and %d bad examples, wants at least one of each", typ, c.good, c.bad)
		}
	}
}
