package reconciler

import (
	"context"
	"fmt"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// Notifications reports purchases that the supplier confirmed and never notified.
// An account that was never notified of anything has no notifications set up, and
// is left alone.
type Notifications struct {
	Accounts []Account
	Ledger   Ledger
	Settle   time.Duration
	Lookback time.Duration
}

const week = 7 * 24 * time.Hour

// Look compares the purchases settled in the span with the notifications since.
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
	// Notifications may be older than the reply that we know of.
	since := run.From.Add(-max(j.Lookback, j.Settle))
	bought := map[string]order.Record{} // by our id
	err := j.Ledger.Since(ctx, a.Supplier, since, func(r order.Record) error {
		switch {
		case r.Account != a.Name || r.Product != order.ProductPackage && r.Product != order.ProductCloudESIMPackage:
		case !r.State.Settled() || r.Certainty != order.CertainPlaced || r.SupplierOrderID == "":
		case r.At.After(run.To):
		default:
			if _, known := bought[r.OrderID]; !known {
				bought[r.OrderID] = r
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	notified := 0
	told := map[string]bool{}
	err = readNotices(ctx, j.Ledger.bus, a, since, func(n eiotclub.Notification, _ time.Time) {
		notified++
		for _, o := range n.Orders() {
			told[o.SupplierOrderID], told[o.OutTradeNo] = true, true
		}
	})
	if err != nil || notified == 0 {
		return err
	}
	delete(told, "")
	// What was not notified in a week never will be, and is reported no longer.
	for _, about := range sitting.Abouts() {
		if run.Now.Sub(sitting.FirstSeen(FindingID(KindNotification, about))) > week {
			if err := sitting.Looked(ctx, about); err != nil {
				return err
			}
		}
	}
	for _, r := range bought {
		about := a.Supplier + "/" + a.Name + "/" + r.OrderID
		here := told[r.OrderID] || told[r.SupplierOrderID]
		switch {
		case here && sitting.Stands(about):
			err = sitting.Looked(ctx, about)
		case !here && (run.Holds(r.At) || sitting.Stands(about)):
			err = sitting.Looked(ctx, about, wire.Finding{Kind: KindNotification, OrderID: r.OrderID, Supplier: r.Supplier, Account: r.Account,
				SupplierOrderID: r.SupplierOrderID, ICCID: r.Request.ICCID, EID: r.Request.EID, Evidence: "the stream WEBHOOKS"})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
