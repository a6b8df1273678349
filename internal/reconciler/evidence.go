package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/wire"
)

// Witness hands what was seen at a supplier to orderer, which alone decides what
// it means for the order.
type Witness struct {
	bus     Publisher
	metrics *Metrics
}

// Tell publishes evidence. The same observation told again soon is dropped by the
// server: the message's id is made of what was seen, not of when.
func (w *Witness) Tell(ctx context.Context, ev wire.Evidence) error {
	ev.Source = order.EvidenceLookup
	what := ev
	what.ObservedAt = time.Time{}
	b, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("evidence of %s: %w", ev.OrderID, err)
	}
	sum := sha256.Sum256(b)
	id := "evidence:" + ev.Supplier + ":" + ev.OrderID + ":" + hex.EncodeToString(sum[:12])
	env, err := wire.NewEnvelope(wire.TypeEvidence, wire.Source("reconciler"), ev.OrderID, id, ev.ObservedAt, ev)
	if err != nil {
		return err
	}
	data, err := env.Marshal()
	if err != nil {
		return err
	}
	if _, err := w.bus.Publish(ctx, bus.NewMsg(bus.SubjectEvidence(ev.Supplier, ev.OrderID), id, data)); err != nil {
		return fmt.Errorf("evidence of %s: %w", ev.OrderID, err)
	}
	// If we die here: it is told again, and orderer's compare-and-set makes that harmless.
	w.metrics.evidence.WithLabelValues(ev.Supplier, string(ev.Certainty)).Inc()
	return nil
}

// evidenceOf is what a placement at the supplier proves of an order.
func evidenceOf(r order.Record, p supplier.Placement, at time.Time) wire.Evidence {
	ev := wire.Evidence{OrderID: r.OrderID, Supplier: r.Supplier, Account: r.Account, Certainty: order.CertainPlaced,
		SupplierOrderID: p.SupplierOrderID, SupplierOrderNumber: p.SupplierOrderNumber, StateThere: string(p.State),
		ESIMs: p.ESIMs, Total: p.Total, ObservedAt: at.UTC()}
	if p.State == order.Rejected {
		ev.Certainty = order.CertainNotPlaced
	}
	return ev
}

// news says whether a placement tells the ledger anything that it does not know.
func news(r order.Record, p supplier.Placement) bool {
	switch r.State {
	case order.Refunded:
		return false
	case order.Fulfilled:
		return p.State == order.Refunded
	case order.Placed:
		return p.State != order.Placed || r.SupplierOrderID == "" && p.SupplierOrderID != "" || len(r.ESIMs) == 0 && len(p.ESIMs) > 0
	case order.Rejected, order.Expired, order.Cancelled:
		return p.State == order.Placed || p.State == order.Fulfilled
	}
	return true
}
