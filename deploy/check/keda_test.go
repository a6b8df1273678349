package check

import (
	"regexp"
	"slices"
	"testing"
)

// KEDA takes any name in a trigger's metadata and passes over those that it does
// not know: they are held against the scaler's own source.
func TestTriggersUseTheScalersNames(t *testing.T) {
	source := moduleFile(t, "github.com/kedacore/keda/v2", "pkg/scalers/nats_jetstream_scaler.go")
	var known []string
	for _, m := range regexp.MustCompile(`keda:"name=([A-Za-z]+)`).FindAllSubmatch(source, -1) {
		known = append(known, string(m[1]))
	}
	if len(known) < 6 {
		t.Fatalf("found %v in the scaler's source: it is written otherwise now", known)
	}
	triggers := 0
	for _, o := range build(t, "overlays/prod") {
		if o.Kind != "ScaledObject" {
			continue
		}
		var so struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Spec struct {
				PollingInterval, CooldownPeriod, MinReplicaCount, MaxReplicaCount *int
				Fallback                                                          struct{ Behavior string }
				Triggers                                                          []struct {
					Type       string
					MetricType string
					Metadata   map[string]string
				}
			} `json:"spec"`
		}
		if err := unmarshal(o, &so); err != nil {
			t.Fatal(err)
		}
		s := so.Spec
		if s.PollingInterval == nil || s.CooldownPeriod == nil || s.MinReplicaCount == nil || s.MaxReplicaCount == nil {
			t.Errorf("%s: a number is left to KEDA's default", o)
		}
		if s.Fallback.Behavior != "currentReplicasIfHigher" {
			t.Errorf("%s: blind, it would scale down", o)
		}
		for _, tr := range s.Triggers {
			triggers++
			if tr.Type != "nats-jetstream" {
				t.Errorf("%s: a trigger of type %s is not checked here", o, tr.Type)
			}
			for name := range tr.Metadata {
				if !slices.Contains(known, name) {
					t.Errorf("%s: KEDA knows no %s", o, name)
				}
			}
		}
	}
	if triggers < 7 {
		t.Errorf("only %d triggers", triggers)
	}
}
