package orderer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// What the open orders tell: how old, how many in doubt, and how much money.
func TestCensus(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	now := time.Date(2026, 1, 15, 9, 0, 0, 0, time.UTC)
	sent := now.Add(-time.Minute)
	record := func(request order.Request, state order.State, certainty order.Certainty) order.Record {
		return order.Record{OrderID: request.OrderID, Supplier: request.Supplier, Account: "default", State: state, Certainty: certainty, Request: request,
			AcceptedAt: now.Add(-time.Hour), LastSentAt: &sent}
	}
	priced, limited, reserved := flyOrder("a"), packageOrder("b"), packageOrder("c")
	limit, spent := mustMoney("5.00", "USD"), mustMoney("1.25", "EUR")
	limited.MaxTotal = &limit
	counted := record(reserved, order.Unknown, order.CertainUnknown)
	counted.SpendReserved = &spent
	waiting := record(packageOrder("w"), order.Waiting, order.CertainNotPlaced)

	c := newCensus()
	for _, r := range []order.Record{record(priced, order.Unknown, order.CertainUnknown), record(limited, order.Held, order.CertainUnknown), counted,
		record(packageOrder("d"), order.Unknown, order.CertainUnknown), waiting, record(packageOrder("p"), order.Placed, order.CertainPlaced)} {
		c.count(openEntry(&r, now.Add(-5*time.Minute)), now)
	}
	c.report(m, "eiotclub", []string{"default", "quiet"})
	want := `
# HELP simline_orderer_in_doubt_orders Open orders that a call may have placed and nothing says whether it did, at the last sweep.
# TYPE simline_orderer_in_doubt_orders gauge
simline_orderer_in_doubt_orders{account="default",supplier="eiotclub"} 4
simline_orderer_in_doubt_orders{account="quiet",supplier="eiotclub"} 0
# HELP simline_orderer_in_doubt_unpriced_orders Those of the orders in doubt whose price nothing told: they are not in the money in doubt.
# TYPE simline_orderer_in_doubt_unpriced_orders gauge
simline_orderer_in_doubt_unpriced_orders{account="default",supplier="eiotclub"} 1
simline_orderer_in_doubt_unpriced_orders{account="quiet",supplier="eiotclub"} 0
# HELP simline_orderer_money_in_doubt What the orders in doubt may have cost: by the supplier's word, the price list, or at most by what upstream allows. Absent: none.
# TYPE simline_orderer_money_in_doubt gauge
simline_orderer_money_in_doubt{account="default",currency="EUR",supplier="eiotclub"} 1.25
simline_orderer_money_in_doubt{account="default",currency="USD",supplier="eiotclub"} 10.44
# HELP simline_orderer_open_oldest_overdue_seconds How long the most overdue open order has been due, at the last sweep.
# TYPE simline_orderer_open_oldest_overdue_seconds gauge
simline_orderer_open_oldest_overdue_seconds{supplier="eiotclub"} 300
# HELP simline_orderer_open_oldest_seconds Age of the oldest order that left the queue unsettled, since its request was first seen, at the last sweep.
# TYPE simline_orderer_open_oldest_seconds gauge
simline_orderer_open_oldest_seconds{supplier="eiotclub"} 3600
`
	names := []string{"simline_orderer_in_doubt_orders", "simline_orderer_in_doubt_unpriced_orders", "simline_orderer_money_in_doubt",
		"simline_orderer_open_oldest_overdue_seconds", "simline_orderer_open_oldest_seconds"}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	// Once nothing is in doubt, no money is.
	newCensus().report(m, "eiotclub", []string{"default"})
	if n := testutil.CollectAndCount(m.atStake); n != 0 {
		t.Errorf("%d sums are left of what is settled", n)
	}
}

// What is switched off can be seen, and a key that names no switch of ours adds no
// series.
func TestSwitchesAreSeen(t *testing.T) {
	w := newWorld(t)
	w.run()
	kv, err := w.bus.JS.KeyValue(t.Context(), bus.BucketSwitches)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) {
		t.Helper()
		if _, err := kv.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	gauge := w.worker.m.switches.WithLabelValues("eiotclub", SwitchPause)
	await := func(want float64) {
		t.Helper()
		until(t, fmt.Sprint("the switch shows ", want), func() bool { return testutil.ToFloat64(gauge) == want })
	}
	put("somebody.else", `{"on":true}`)
	put("eiotclub.pause", `{"on":true}`)
	await(1)
	if n := testutil.CollectAndCount(w.worker.m.switches); n != 6 {
		t.Errorf("%d series, want two for each supplier and for all", n)
	}
	if err := kv.Delete(t.Context(), "eiotclub.pause", jetstream.LastRevision(2)); err != nil {
		t.Fatal(err)
	}
	await(0)
}
