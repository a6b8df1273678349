package bus_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

func TestPlanSaysWhatProvisionWouldDo(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	b := s.Connect(s.URL())
	topo := bus.NewTopology(bus.DefaultSettings())
	all := len(topo.Streams) + len(topo.Buckets)
	for _, list := range topo.Consumers {
		all += len(list)
	}
	plan, err := b.Plan(t.Context(), bus.DefaultSettings())
	if err != nil || len(plan) != all {
		t.Fatalf("on an empty server %d of %d are to be made, %v", len(plan), all, err)
	}
	s.Provision(bus.DefaultSettings())
	if plan, err = b.Plan(t.Context(), bus.DefaultSettings()); err != nil || len(plan) != 0 {
		t.Fatalf("after provisioning: %v, %v", plan, err)
	}
	changed := bus.DefaultSettings()
	changed.MaxInFlight, changed.DedupWindow = 64, time.Hour
	if plan, err = b.Plan(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range plan {
		got[c.Kind+" "+c.Name] = c.What
	}
	for name, want := range map[string]string{"stream WEBHOOKS": "duplicate_window 2h0m0s → 1h0m0s", "consumer ORDERS/orderer-esimfly": "max_ack_pending 256 → 64"} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	s.Provision(changed)
	if plan, err = b.Plan(t.Context(), changed); err != nil || len(plan) != 0 {
		t.Fatalf("after provisioning again: %v, %v", plan, err)
	}
}
