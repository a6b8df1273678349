package check

import (
	"regexp"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// scalers are the triggers that we use, by where KEDA reads their metadata.
var scalers = map[string]string{"nats-jetstream": "pkg/scalers/nats_jetstream_scaler.go", "metrics-api": "pkg/scalers/metrics_api_scaler.go"}

// trigger is one trigger of a ScaledObject.
type trigger struct {
	Type, MetricType string
	Metadata         map[string]string
}

// triggers are those of an overlay, by their ScaledObject. What else a ScaledObject
// must say is checked on the way.
func triggers(t *testing.T, overlay string) map[string][]trigger {
	t.Helper()
	out := map[string][]trigger{}
	for _, o := range build(t, overlay) {
		if o.Kind != "ScaledObject" {
			continue
		}
		var so struct {
			Spec struct {
				PollingInterval, CooldownPeriod, MinReplicaCount, MaxReplicaCount *int
				Fallback                                                          struct{ Behavior string }
				Triggers                                                          []trigger
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
		out[o.Name] = s.Triggers
	}
	return out
}

// KEDA takes any name in a trigger's metadata and passes over those that it does
// not know: they are held against the scalers' own source.
func TestTriggersUseTheScalersNames(t *testing.T) {
	known := map[string][]string{}
	for typ, path := range scalers {
		for _, m := range regexp.MustCompile(`keda:"name=([A-Za-z]+)`).FindAllSubmatch(moduleFile(t, "github.com/kedacore/keda/v2", path), -1) {
			known[typ] = append(known[typ], string(m[1]))
		}
		if len(known[typ]) < 6 {
			t.Fatalf("found %v in %s: it is written otherwise now", known[typ], path)
		}
	}
	for _, overlay := range []string{"overlays/prod", "overlays/prod-metrics"} {
		n := 0
		for name, list := range triggers(t, overlay) {
			for _, tr := range list {
				n++
				if known[tr.Type] == nil {
					t.Errorf("%s: a trigger of type %s is not checked here", name, tr.Type)
				}
				for field := range tr.Metadata {
					if !slices.Contains(known[tr.Type], field) {
						t.Errorf("%s: KEDA's %s knows no %s", name, tr.Type, field)
					}
				}
			}
		}
		if n < 7 {
			t.Errorf("%s: only %d triggers", overlay, n)
		}
	}
}

// Whether KEDA asks NATS or the workers, it scales by the same queues and figures;
// and what it asks of a worker is a metric that one serves, at an address that is.
func TestBothWaysToScaleAreAlike(t *testing.T) {
	byNATS, byMetrics, names := triggers(t, "overlays/prod"), triggers(t, "overlays/prod-metrics"), metricNames(t)
	objects := build(t, "overlays/prod-metrics")
	location := regexp.MustCompile(`^([a-z_]+)\{consumer="([^"]+)",stream="([^"]+)"\}$`)
	address := regexp.MustCompile(`^http://([a-z-]+)\.([a-z]+)\.svc:9090/metrics$`)
	for name, list := range byNATS {
		var want, got []string
		for _, tr := range list {
			want = append(want, tr.Metadata["stream"]+"/"+tr.Metadata["consumer"]+" "+tr.Metadata["lagThreshold"]+" "+tr.Metadata["activationLagThreshold"])
		}
		for _, tr := range byMetrics[name] {
			m := location.FindStringSubmatch(tr.Metadata["valueLocation"])
			if m == nil || tr.Metadata["format"] != "prometheus" {
				t.Errorf("%s: %v", name, tr.Metadata)
				continue
			}
			if labels, ok := names[m[1]]; !ok || !slices.Contains(labels, "consumer") || !slices.Contains(labels, "stream") {
				t.Errorf("%s: no worker has %s by stream and consumer", name, m[1])
			}
			got = append(got, m[3]+"/"+m[2]+" "+tr.Metadata["targetValue"]+" "+tr.Metadata["activationTargetValue"])
			a := address.FindStringSubmatch(tr.Metadata["url"])
			if a == nil || !slices.ContainsFunc(objects, func(o object) bool {
				return o.Kind == "Service" && o.Name == a[1] && o.Namespace == a[2] && into[corev1.Service](t, o).Spec.Selector["app.kubernetes.io/name"] == name
			}) {
				t.Errorf("%s: no service of it is at %s", name, tr.Metadata["url"])
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("%s: by NATS it is scaled by %v, by its metrics by %v", name, want, got)
		}
	}
}
