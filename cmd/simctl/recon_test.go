package main

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/reconciler"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
)

// On a ledger with an order that the supplier does not know.
func TestReconScript(t *testing.T) {
	s, b := bustest.Provisioned(t, bustest.Options{})
	shop := simeiotclub.New(simeiotclub.Config{Seed: 1})
	srv := httptest.NewServer(shop.Handler())
	t.Cleanup(func() { srv.Close(); shop.Close() })
	l, err := ledger.New(b, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	at := time.Now().Add(-time.Minute).UTC()
	req := order.Request{OrderID: "lost-1", Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: order.DefaultAccount,
		ICCID: simeiotclub.SeedICCID, PackageCode: simeiotclub.PackageCode}
	rec := order.Record{OrderID: req.OrderID, Supplier: req.Supplier, Product: req.Product, Account: req.Account, State: order.Intent, Certainty: order.CertainUnknown,
		Request: req, RequestHash: req.Hash(), AcceptedAt: at, FirstSentAt: &at, LastSentAt: &at, Attempt: 1, At: at}
	e, err := l.Append(t.Context(), &ledger.Entry{}, rec)
	if err != nil {
		t.Fatal(err)
	}
	rec.State, rec.Certainty, rec.Evidence, rec.SupplierOrderID = order.Fulfilled, order.CertainPlaced, order.EvidenceReply, "1"
	if _, err := l.Append(t.Context(), e, rec); err != nil {
		t.Fatal(err)
	}
	scripts(t, "recon*", []string{"NATS_URL=" + s.URL(), "EIOTCLUB_BASE_URL=" + srv.URL, "EIOTCLUB_APP_KEY=" + shop.AppKey(), "EIOTCLUB_APP_SECRET=" + shop.Secret(),
		"RECON_SETTLE=0s", "FINDING=" + reconciler.FindingID(reconciler.KindMissingThere, "eiotclub/default/package/lost-1")}, nil)
}
