package orderer

import (
	"context"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// bug is a mistake planted in the engine or in what it stands on.
type bug struct {
	name     string
	plant    func(r *run, w *Worker)
	rules    func(*supplier.Rules)
	purchase func(r *run, p *supplier.Purchase)
	append   func(r *run, ctx context.Context, prev ledger.Entry, next order.Record) (ledger.Entry, error)
	ackFirst bool
	noGuard  bool
}
