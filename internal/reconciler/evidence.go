package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
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

// news says whether a placement tells the ledger anything that it may take in.
// What contradicts the ledger is a finding of records, not evidence: orderer could
// do nothing with it but set it aside, each time anew.
func news(r order.Record, p supplier.Placement) bool {
	if r.SupplierOrderID != "" && p.SupplierOrderID != "" && r.SupplierOrderID != p.SupplierOrderID {
		return false
	}
	switch r.State {
	case order.Rejected, order.Expired, order.Cancelled, order.Refunded:
		return false
	case order.Fulfilled:
		return p.State == order.Refunded
	case order.Placed:
		return p.State != order.Placed
	case order.Held:
		switch p.State {
		case order.Rejected:
			return false // that it was not placed needs a person
		case order.Placed: // known where only what was bought is not
			return !r.There()
		}
	}
	return true
}

// asOrdered says whether a row under our id is what the order asked for. If it is
// not, which of the two is charged is for a person to find out.
func asOrdered(r order.Record, card, packageCode string) bool {
	asked := r.Request.ICCID + r.Request.EID
	return (card == "" || asked == "" || card == asked) &&
		(packageCode == "" || r.Request.PackageCode+r.Request.PoolTypeCode == "" || strings.EqualFold(packageCode, r.Request.PackageCode+r.Request.PoolTypeCode))
}
