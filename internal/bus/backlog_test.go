package bus_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

func TestBacklogTellsWhatLies(t *testing.T) {
	srv, b := bustest.Provisioned(t, bustest.Options{})
	for range 3 {
		if _, err := b.Publish(t.Context(), bus.NewMsg(bus.SubjectRequest("eiotclub", "package"), "", []byte("{}"))); err != nil {
			t.Fatal(err)
		}
	}
	cons, err := b.JS.Consumer(t.Context(), bus.StreamOrders, bus.ConsumerOrderer("eiotclub"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cons.Next(); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(bus.NewBacklog(b, bus.StreamDead, bus.StreamOrders, bus.StreamOrders+"/"+bus.ConsumerOrderer("eiotclub"), "kv/"+bus.BucketLeases))
	gather := func() map[string]float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				key := f.GetName()
				for _, l := range m.GetLabel() {
					key += " " + l.GetValue()
				}
				out[key] = m.GetGauge().GetValue()
			}
		}
		return out
	}
	want := map[string]float64{
		"simline_bus_stream_messages DEAD":                     0,
		"simline_bus_stream_messages ORDERS":                   3,
		"simline_bus_pending_messages orderer-eiotclub ORDERS": 2,
		"simline_bus_unacked_messages orderer-eiotclub ORDERS": 1,
		"simline_bus_backlog_messages orderer-eiotclub ORDERS": 3,
	}
	got := gather()
	if age, ok := got["simline_bus_oldest_message_seconds ORDERS"]; !ok || age <= 0 || age > 60 {
		t.Errorf("the oldest message is %v s old", age)
	}
	delete(got, "simline_bus_oldest_message_seconds ORDERS")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	srv.Stop()
	if got := gather(); len(got) != 0 {
		t.Errorf("without NATS the figures are %v, want none: a zero would look like peace", got)
	}
}
