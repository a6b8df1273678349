package main

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/orderer"
	simesimfly "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/supplier/esimfly"
)

// On the real orderer, with orders of two eSIMs that eSIMfly completes and shows in
// part, and one whose answer was lost.
func TestResolveScript(t *testing.T) {
	s, b := bustest.Provisioned(t, bustest.Options{})
	fly := simesimfly.New(simesimfly.Config{Seed: 1, PendingEvery: 1})
	srv := httptest.NewServer(fly.Handler())
	t.Cleanup(func() { srv.Close(); fly.Close() })
	l, err := ledger.New(b, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	client := esimfly.New(esimfly.Config{BaseURL: srv.URL, AccessCode: fly.AccessCode(), SecretKey: fly.SecretKey()})
	const moment = 20 * time.Millisecond
	cfg := orderer.Config{Concurrency: 4, OutOfStock: "wait", Timing: orderer.Timing{Timeout: 10 * time.Second, Settle: moment, LookInterval: moment,
		AckWait: time.Minute, WaitMin: moment, WaitMax: moment, Sweep: moment}}
	w, err := orderer.New(cfg, orderer.Deps{Bus: b, Ledger: l, Accounts: []orderer.Account{{Supplier: order.ESIMFly, Name: order.DefaultAccount, Client: client}},
		Metrics: orderer.NewMetrics(prometheus.NewRegistry()), Work: context.Background()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("orderer: %v", err)
		}
	})
	held := func(fatal func(string, ...any), id string, certainty order.Certainty) order.Record {
		for deadline := time.Now().Add(time.Minute); ; {
			e, _, err := l.Get(context.Background(), id)
			if err == nil && e.State == order.Held && e.Certainty == certainty {
				return e.Record
			}
			if time.Now().After(deadline) {
				fatal("order %s is %s as %s, %v", id, e.State, e.Certainty, err)
			}
			<-time.After(10 * time.Millisecond)
		}
	}
	price, err := order.NewMoney("2.72", "USD")
	if err != nil {
		t.Fatal(err)
	}
	fly.Faults().MustAdd(fault.Rule{Kind: fault.LostReply, Path: "POST /api/v1/business/esims/order", Times: 1})
	certainty := order.CertainUnknown
	reference := ""
	for _, id := range []string{"lost-1", "part-1", "part-2"} {
		data, err := json.Marshal(order.Request{OrderID: id, Supplier: order.ESIMFly, Product: order.ProductESIM, Account: order.DefaultAccount,
			PackageCode: simesimfly.PackageCode, PackageName: simesimfly.PackageName, Price: &price, Quantity: 2})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Publish(t.Context(), bus.NewMsg(bus.SubjectRequest(order.ESIMFly, order.ProductESIM), "", data)); err != nil {
			t.Fatal(err)
		}
		if r := held(t.Fatalf, id, certainty); reference == "" {
			o, _ := fly.Order(r.SupplierRequestID)
			reference = o.Reference
		}
		certainty = order.CertainPlaced
	}
	scripts(t, "resolve*", []string{"NATS_URL=" + s.URL(), "REFERENCE=" + reference}, map[string]func(*testscript.TestScript, bool, []string){
		// part ID: the order is held because it is shown in part.
		"part": func(ts *testscript.TestScript, _ bool, args []string) { held(ts.Fatalf, args[0], order.CertainPlaced) },
		// second ID FILE: what the supplier's dashboard shows of the eSIM that no look does.
		"second": func(ts *testscript.TestScript, _ bool, args []string) {
			e, _, err := l.Get(context.Background(), args[0])
			ts.Check(err)
			o, ok := fly.Order(e.SupplierOrderID)
			if !ok {
				ts.Fatalf("the supplier has no %s", args[0])
			}
			data, err := json.Marshal([]order.ESIM{{ICCID: o.ESims[1].ICCID, QRCodeURL: o.ESims[1].QRCode}})
			ts.Check(err)
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o600))
			ts.Setenv("SECOND", o.ESims[1].ICCID)
		},
	})
	for id, n := range map[string]int{"part-1": 2, "part-2": 1, "lost-1": 2} {
		e, _, err := l.Get(t.Context(), id)
		if err != nil || e.State != order.Fulfilled || len(e.ESIMs) != n || e.Evidence != order.EvidencePerson {
			t.Errorf("%s is %s by %s with %d eSIMs, want %d; %v", id, e.State, e.Evidence, len(e.ESIMs), n, err)
		}
	}
	want := []string{"order_resolve | part-1 | mira | their dashboard shows both | simctl", "order_reveal | part-1 | mira | to hand it on | simctl",
		"order_resolve | part-2 | mira | the other was given back by mail | simctl", "order_resolve | lost-1 | mira | on their list of today | simctl",
		"order_resolve | lost-1 | mira | their dashboard shows both | simctl"}
	if diff := cmp.Diff(want, audited(t, b)); diff != "" {
		t.Errorf("on AUDIT, -want +got:\n%s", diff)
	}
}
