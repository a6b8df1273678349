package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

// Entries of the index are written as encoding/json writes them, which reads them.
func TestAnEntryReadsBackAsItWasWritten(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	l, err := ledger.New(b, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC)
	price, err := order.NewMoney("1.234", "USD")
	if err != nil {
		t.Fatal(err)
	}
	full := ledger.Open{OrderID: "full", Supplier: order.EIOTCLUB, Account: "a<b>é", State: order.Waiting, WaitingFor: "no_funds", Due: at, ExpiresAt: &at, AcceptedAt: at, InDoubt: true, AtStake: &price}
	for name, entry := range map[string]ledger.Open{"full": full, "bare": {OrderID: "bare", Supplier: order.ESIMFly, State: order.Unknown, Due: at}} {
		for how, put := range map[string]func(ledger.Open) error{
			"own":  func(o ledger.Open) error { return l.Guard(t.Context(), o) },
			"page": func(o ledger.Open) error { return l.Enter(t.Context(), o)() },
		} {
			entry.OrderID = name + "-" + how
			if err := put(entry); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []ledger.Open
	for o, err := range ledger.WalkOpen(t.Context(), b) {
		if err != nil {
			t.Fatal(err)
		}
		want := full
		if strings.HasPrefix(o.OrderID, "bare") {
			want = ledger.Open{Supplier: order.ESIMFly, State: order.Unknown, Due: at}
		}
		want.OrderID, want.Revision = o.OrderID, o.Revision
		if diff := cmp.Diff(want, o, cmpopts.IgnoreUnexported(ledger.Open{})); diff != "" {
			t.Errorf("-written +read\n%s", diff)
		}
		got = append(got, o)
	}
	if len(got) != 4 {
		t.Errorf("%d entries, wants 4", len(got))
	}
}

func enter(t *testing.T, l *ledger.Ledger, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := l.Enter(t.Context(), ledger.Open{OrderID: fmt.Sprint("o", i), Supplier: order.EIOTCLUB, State: order.Placed})(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func keys(t *testing.T, b *bus.Bus) int {
	t.Helper()
	kv, err := b.JS.KeyValue(t.Context(), bus.BucketOpenOrders)
	if err != nil {
		t.Fatal(err)
	}
	w, err := kv.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	n := 0
	for e := range w.Updates() {
		if e == nil {
			return n
		}
		if e.Operation() == 0 { // put
			n++
		}
	}
	return n
}

func TestOrdersThatLeaveTogetherShareAPage(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	one, two := newLedger(t, b), newLedger(t, b)
	const n = 200
	enter(t, one, n)
	if pages := keys(t, b); pages > n/2 {
		t.Errorf("%d orders on %d pages", n, pages)
	}
	first, second := open(t, one), open(t, two)
	if len(first) != n || len(second) != n {
		t.Fatalf("%d and %d orders are open, want %d", len(first), len(second), n)
	}
	// Two replicas take up the same orders: each order goes to one of them.
	due := time.Now().Add(time.Minute)
	won := 0
	for id := range first {
		errOne, errTwo := one.Claim(t.Context(), first[id], due), two.Claim(t.Context(), second[id], due)
		if (errOne == nil) == (errTwo == nil) {
			t.Fatalf("claims of %s: %v and %v", id, errOne, errTwo)
		}
		for _, err := range []error{errOne, errTwo} {
			if err == nil {
				won++
			} else if !errors.Is(err, ledger.ErrMoved) {
				t.Fatal(err)
			}
		}
	}
	if k := keys(t, b); k != n {
		t.Errorf("%d entries after the claims, want one of each order and no page", k)
	}
	if now := open(t, two); won != n || len(now) != n || !now["o7"].Due.Equal(due) {
		t.Errorf("%d claims won, %d orders open, o7 due %s", won, len(now), now["o7"].Due)
	}
}

func TestAnOrderIsNotTakenFromAPageOnceItHadAnEntry(t *testing.T) {
	for name, change := range map[string]func(context.Context, *ledger.Ledger) error{
		"guarded since": func(ctx context.Context, l *ledger.Ledger) error { return l.Guard(ctx, ledger.Open{OrderID: "o0"}) },
		"settled since": func(ctx context.Context, l *ledger.Ledger) error { return l.Unguard(ctx, "o0") },
	} {
		t.Run(name, func(t *testing.T) {
			_, b := bustest.Provisioned(t, bustest.Options{})
			l := newLedger(t, b)
			enter(t, l, 1)
			o := open(t, l)["o0"]
			if err := change(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			if err := l.Claim(t.Context(), o, time.Now()); !errors.Is(err, ledger.ErrMoved) {
				t.Errorf("claim: %v, want moved", err)
			}
		})
	}
}

// A page outlives the process that wrote it, and is read by those that come after.
func TestAPageOfAnotherLife(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	dead, err := ledger.New(b, "dead")
	if err != nil {
		t.Fatal(err)
	}
	enter(t, dead, 3)
	dead.Close()
	if err := dead.Enter(t.Context(), ledger.Open{OrderID: "late"})(); err == nil {
		t.Error("a closed ledger guards")
	}
	n := 0
	for o, err := range ledger.WalkOpen(t.Context(), b) {
		if err != nil {
			t.Fatal(err)
		}
		if o.Supplier != order.EIOTCLUB || o.State != order.Placed {
			t.Errorf("read as %+v", o)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d orders", n)
	}
}
