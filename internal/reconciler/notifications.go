package reconciler

import (
	"context"
	"fmt"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// Notifications reports purchases and refunds that the supplier confirmed and never
// notified. An account that was never notified of anything has no notifications set
// up, and is left alone.
type Notifications struct {
	Accounts []Account
	Ledger   Ledger
	Settle   time.Duration
	Lookback time.Duration
	// PartSize is as in Records.
	PartSize uint64
}

const week = 7 * 24 * time.Hour

// notable is an order of which the supplier should have told us.
type notable struct {
	orderID, supplierOrderID, iccid, eid string
	bought, refunded                     time.Time // when we knew; zero if it was not
	toldBought, toldRefunded             bool
}

// Look compares what was settled in the span with the notifications since.
func (j *Notifications) Look(ctx context.Context, run *Run, sitting *Sitting) error {
	for _, a := range j.Accounts {
		if a.Supplier != order.EIOTCLUB {
			continue // nobody else is known to notify
		}
		if err := j.account(ctx, run, sitting, a); err != nil {
			return fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	return nil
}

func (j *Notifications) account(ctx context.Context, run *Run, sitting *Sitting, a Account) error {
	// What was not notified in a week never will be, and is reported no longer.
	for _, about := range sitting.Abouts() {
		if run.Now.Sub(sitting.FirstSeen(FindingID(KindNotification, about))) > week {
			if err := sitting.Looked(ctx, about); err != nil {
				return err
			}
		}
	}
	// Notifications may be older than the reply that we know of.
	since := run.From.Add(-max(j.Lookback, j.Settle))
	events, err := j.Ledger.CountSince(ctx, a.Supplier, since)
	if err != nil {
		return err
	}
	parts := partsOf(events, j.PartSize)
	for number := range parts {
		orders, err := j.orders(ctx, a, part{number, parts}, since, run.To)
		if err != nil {
			return err
		}
		notified, err := j.told(ctx, a, since, orders)
		if err != nil || !notified {
			return err
		}
		for _, o := range orders {
			if err := j.judge(ctx, run, sitting, a, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// orders are a part of the account's orders that were settled as placed since.
func (j *Notifications) orders(ctx context.Context, a Account, part part, since, to time.Time) (map[string]*notable, error) {
	out := map[string]*notable{}
	err := j.Ledger.SinceOf(ctx, a.Supplier, since, part.hasKey, func(r order.Record) error {
		if r.Account != a.Name || r.Product != order.ProductPackage && r.Product != order.ProductCloudESIMPackage ||
			!r.State.Settled() || r.Certainty != order.CertainPlaced || r.SupplierOrderID == "" || r.At.After(to) {
			return nil
		}
		o := out[r.OrderID]
		if o == nil {
			o = &notable{orderID: r.OrderID, supplierOrderID: r.SupplierOrderID, iccid: r.Request.ICCID, eid: r.Request.EID, bought: r.At}
			out[r.OrderID] = o
		}
		if r.State == order.Refunded && o.refunded.IsZero() {
			o.refunded = r.At
		}
		return nil
	})
	return out, err
}

// told marks what notifications told of; notified is false if there were none at
// all.
func (j *Notifications) told(ctx context.Context, a Account, since time.Time, orders map[string]*notable) (notified bool, err error) {
	byTheirs := make(map[string]*notable, len(orders))
	for _, o := range orders {
		byTheirs[o.supplierOrderID] = o
	}
	err = readNotices(ctx, j.Ledger.bus, a, since, func(n eiotclub.Notification, _ time.Time) {
		notified = true
		for _, said := range n.Orders() {
			o := orders[said.OutTradeNo]
			if o == nil {
				o = byTheirs[said.SupplierOrderID]
			}
			switch {
			case o == nil:
			case said.State == order.Refunded:
				o.toldRefunded = true
			default:
				o.toldBought = true
			}
		}
	})
	return notified, err
}

func (j *Notifications) judge(ctx context.Context, run *Run, sitting *Sitting, a Account, o *notable) error {
	about := a.Supplier + "/" + a.Name + "/" + o.orderID
	say := func(about, what string, at time.Time, told bool) error {
		switch {
		case told && sitting.Stands(about):
			return sitting.Looked(ctx, about)
		case told || !run.Holds(at) && !sitting.Stands(about):
			return nil
		}
		return sitting.Looked(ctx, about, wire.Finding{Kind: KindNotification, OrderID: o.orderID, Supplier: a.Supplier, Account: a.Name,
			SupplierOrderID: o.supplierOrderID, ICCID: o.iccid, EID: o.eid, Ours: raw(map[string]any{what: at.UTC()}),
			Evidence: "the ledger, which the supplier's answers settled, against the stream WEBHOOKS"})
	}
	// A refund that was told names the purchase as well.
	if err := say(about, "bought", o.bought, o.toldBought || o.toldRefunded); err != nil || o.refunded.IsZero() {
		return err
	}
	return say(about+"/refund", "refunded", o.refunded, o.toldRefunded)
}
