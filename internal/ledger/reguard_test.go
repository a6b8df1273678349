package ledger_test

import (
	"testing"
	"time"

	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

// After a restore from copies of different moments an unsettled order may be in no
// queue and not in the index: it is put there. What is there, or settled, is left.
func TestReguard(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	l := newLedger(t, b)
	move := func(id string, states ...order.State) {
		t.Helper()
		e := &ledger.Entry{}
		for _, s := range states {
			var err error
			if e, err = l.Append(t.Context(), e, record(id, s)); err != nil {
				t.Fatal(err)
			}
		}
	}
	due := time.Now().UTC().Truncate(time.Second)
	if n, err := l.Reguard(t.Context(), due); err != nil || n != 0 {
		t.Fatalf("an empty ledger: %d, %v", n, err)
	}
	move("lost", order.Intent, order.Unknown)
	move("settled", order.Intent, order.Placed, order.Fulfilled)
	move("guarded", order.Intent, order.Placed)
	later := due.Add(time.Hour)
	if err := l.Guard(t.Context(), ledger.Open{OrderID: "guarded", Supplier: order.EIOTCLUB, Account: "default", State: order.Placed, Due: later}); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Reguard(t.Context(), due); err != nil || n != 1 {
		t.Fatalf("put %d under guard, %v, want 1", n, err)
	}
	got := open(t, l)
	if len(got) != 2 || !got["lost"].Due.Equal(due) || got["lost"].State != order.Unknown || !got["guarded"].Due.Equal(later) {
		t.Errorf("the index is %+v", got)
	}
}
