package suppliertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

func purchase(t *testing.T, r *rig, rules supplier.Rules) {
	got, err := r.place(t, "conf-1")
	if err != nil {
		t.Fatal(err)
	}
	if got.SupplierOrderID == "" || got.State != r.h.ReplyState {
		t.Errorf("placed %+v, want an id and state %s", got, r.h.ReplyState)
	}
	again, err := r.place(t, "conf-1")
	switch rules.Repeat {
	case supplier.RepeatRefused:
		if e := failure(t, err); e.Kind != supplier.Exists || !e.Sent {
			t.Errorf("repeat: %v, want kind exists", e)
		}
	case supplier.RepeatReplayed:
		if err != nil || again.SupplierOrderID != got.SupplierOrderID {
			t.Errorf("repeat: %+v, %v, want the first answer", again, err)
		}
	}
	if n := r.h.Bought("conf-1"); n != 1 {
		t.Errorf("bought %d times", n)
	}
	query := supplier.Query{Request: r.h.Request("conf-1"), SupplierOrderID: got.SupplierOrderID, SupplierOrderNumber: got.SupplierOrderNumber}
	if rules.LookupByOurID {
		query.SupplierOrderID, query.SupplierOrderNumber = "", ""
	}
	saw, err := r.client.Lookup(t.Context(), query)
	if err != nil || !saw.Found {
		t.Fatalf("look-up: %+v, %v", saw, err)
	}
	if saw.SupplierOrderID != got.SupplierOrderID {
		t.Errorf("look-up says order %q, the reply said %q", saw.SupplierOrderID, got.SupplierOrderID)
	}
	if saw.State != order.Fulfilled && saw.State != order.Placed || saw.Where == "" || len(saw.Mismatch) > 0 {
		t.Errorf("look-up: %+v", saw)
	}
	if saw.Total != nil {
		if c, err := saw.Total.Cmp(r.h.Price); err != nil || c != 0 {
			t.Errorf("look-up says it cost %v, want %v", saw.Total, r.h.Price)
		}
	}
	for _, e := range append(got.ESIMs, saw.ESIMs...) {
		if e.Status != "PENDING" && e.ICCID == "" {
			t.Errorf("an eSIM without an ICCID: %q", e.Status)
		}
	}
}

func atOnce(t *testing.T, r *rig) {
	const orders, each = 8, 4
	var wg sync.WaitGroup
	var mu sync.Mutex
	placed := map[string]int{}
	for i := range orders {
		id := fmt.Sprintf("conf-many-%d", i)
		for range each {
			wg.Go(func() {
				_, err := r.place(t, id)
				mu.Lock()
				defer mu.Unlock()
				var e *supplier.Error
				switch {
				case err == nil:
					placed[id]++
				case !errors.As(err, &e) || e.Kind != supplier.Exists:
					t.Errorf("%s: %v", id, err)
				}
			})
		}
	}
	wg.Wait()
	for i := range orders {
		id := fmt.Sprintf("conf-many-%d", i)
		if placed[id] != 1 || r.h.Bought(id) != 1 {
			t.Errorf("%s: %d good replies, bought %d times", id, placed[id], r.h.Bought(id))
		}
	}
}

func wrong(t *testing.T, r *rig) {
	_, err := r.client.Place(t.Context(), supplier.Purchase{Request: r.h.Wrong("conf-wrong")})
	if e := failure(t, err); e.Kind != supplier.Refused || e.Kind.Certainty() != order.CertainNotPlaced {
		t.Errorf("got %v, want kind refused", e)
	}
	if n := r.h.Bought("conf-wrong"); n != 0 {
		t.Errorf("bought %d times", n)
	}
}

func money(t *testing.T, r *rig) {
	before, err := r.client.Balance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.h.Balance().String(), before.String()); diff != "" {
		t.Errorf("balance (-book +client):\n%s", diff)
	}
	price, err := r.client.Price(t.Context(), r.h.Request("conf-price"))
	switch {
	case !r.h.HasPrice:
		if !errors.Is(err, supplier.ErrNoPrice) {
			t.Errorf("price: %v, %v, want ErrNoPrice", price, err)
		}
		return
	case err != nil:
		t.Fatal(err)
	}
	if c, err := price.Cmp(r.h.Price); err != nil || c != 0 {
		t.Errorf("price %v, want %v", price, r.h.Price)
	}
	if _, err := r.place(t, "conf-price"); err != nil {
		t.Fatal(err)
	}
	after := before
	after.Amount = before.Amount.Sub(price.Amount)
	if c, err := r.h.Balance().Cmp(after); err != nil || c != 0 {
		t.Errorf("after buying for %v: balance %v, want %v", price, r.h.Balance(), after)
	}
}

// damagedRig calls a supplier before whom the front stands with a fault. A call that is
// to time out gets more time if it took the machine that long to bring it there.
func damagedRig(t *testing.T, h Harness, fault Fault, call func(r *rig, try int)) *rig {
	t.Helper()
	timeout, most := 10*time.Second, 10*time.Second
	if fault == Slow {
		timeout = 500 * time.Millisecond
	}
	for try := 1; ; try++ {
		r := newRig(t, h, h.Supplier, timeout)
		r.front.Damage(fault)
		call(r, try)
		if timeout *= 4; fault != Slow || r.front.Hangs() || timeout > most {
			return r
		}
	}
}

func damaged(t *testing.T, h Harness, good *rig) {
	i := 0
	for name, fault := range Damaged {
		i++
		t.Run(name, func(t *testing.T) {
			var id string
			var err error
			r := damagedRig(t, h, fault, func(r *rig, try int) {
				id = fmt.Sprintf("conf-damage-%d-%d", i, try)
				_, err = r.place(t, id)
			})
			e := failure(t, err)
			if e.Kind != supplier.Unknown || !e.Sent || e.Kind.Certainty() != order.CertainUnknown {
				t.Errorf("got %+v, want kind unknown and sent", e)
			}
			if e.Code == "" || e.Code[0] != '(' {
				t.Errorf("code %q is not one of ours", e.Code)
			}
			if want := map[Fault]string{Slow: "(timeout)", Status502: "(http 502)", Redirect: "(http 307)", Huge: "(too large)", LostReply: "(reset)",
				Before: "(reset)", HalfBody: "(reset)", HTML: "(not json)", Truncated: "(not json)", NoJSON: "(not json)"}[fault]; e.Code != want {
				t.Errorf("code %q, want %q", e.Code, want)
			}
			if n := r.front.Calls(); n != 1 {
				t.Errorf("%d calls: something repeated a purchase by itself", n)
			}
			if got := r.observed(); len(got) != 1 || got[0] != e.Code {
				t.Errorf("observed %q, want the error's code once", got)
			}
			// What the engine does next: the same call again buys at most once.
			_, err = good.place(t, id)
			if fault == Before {
				if err != nil {
					t.Errorf("repeat of a call that never arrived: %v", err)
				}
			} else if e := failure(t, err); e.Kind != supplier.Exists {
				t.Errorf("repeat: %v, want kind exists", e)
			}
			if n := h.Bought(id); n != 1 {
				t.Errorf("bought %d times", n)
			}
		})
	}
}

func notThere(t *testing.T, r *rig, rules supplier.Rules) {
	saw, err := r.client.Lookup(t.Context(), supplier.Query{Request: r.h.Request("conf-never")})
	if rules.LookupByOurID {
		if err != nil || saw.Found || saw.Where == "" {
			t.Errorf("by our id: %+v, %v, want not found", saw, err)
		}
	} else if !errors.Is(err, supplier.ErrNoLookup) {
		t.Errorf("by our id: %+v, %v, want ErrNoLookup", saw, err)
	}
	if rules.LookupBySupplierID && !rules.LookupByOurID {
		saw, err := r.client.Lookup(t.Context(), supplier.Query{Request: r.h.Request("conf-never"), SupplierOrderID: "999999999"})
		if err != nil || saw.Found {
			t.Errorf("by the supplier's id: %+v, %v, want not found", saw, err)
		}
	}
}

func damagedLookups(t *testing.T, h Harness, rules supplier.Rules) {
	for name, fault := range Damaged {
		t.Run(name, func(t *testing.T) {
			query := supplier.Query{Request: h.Request("conf-never")}
			if !rules.LookupByOurID {
				query.SupplierOrderID = "999999999"
			}
			var saw supplier.Sighting
			var err error
			damagedRig(t, h, fault, func(r *rig, _ int) { saw, err = r.client.Lookup(t.Context(), query) })
			if e := failure(t, err); e.Kind != supplier.Unknown || saw.Found {
				t.Errorf("got %+v, %v, want kind unknown", saw, e)
			}
		})
	}
}

func neverSent(t *testing.T, h Harness) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	listener.Close()
	t.Run("dial refused", func(t *testing.T) {
		c := h.Client(nobody, supplier.NewHTTP(supplier.HTTPConfig{}))
		_, err := c.Place(t.Context(), supplier.Purchase{Request: h.Request("conf-dial")})
		if e := failure(t, err); e.Sent || e.Kind != supplier.Busy || e.Code != "(dial)" {
			t.Errorf("got %+v, want kind busy, not sent", e)
		}
	})
	t.Run("cancelled before", func(t *testing.T) {
		r := newRig(t, h, h.Supplier, time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.client.Place(ctx, supplier.Purchase{Request: h.Request("conf-cancel")})
		if e := failure(t, err); e.Sent || e.Kind != supplier.Busy || e.Code != "(cancelled)" || !errors.Is(err, context.Canceled) {
			t.Errorf("got %+v, want kind busy, not sent, cancelled", e)
		}
		if r.front.Calls() != 0 || h.Bought("conf-cancel") != 0 {
			t.Error("a cancelled call arrived")
		}
	})
	// Purchase.Until: from then on others act on the order.
	t.Run("its time was over", func(t *testing.T) {
		r := newRig(t, h, h.Supplier, time.Hour)
		if _, err := r.place(t, "conf-first"); err != nil { // which leaves a connection
			t.Fatal(err)
		}
		calls := r.front.Calls()
		_, err := r.client.Place(t.Context(), supplier.Purchase{Request: h.Request("conf-until-1"), Until: time.Now()})
		if e := failure(t, err); e.Sent || e.Kind != supplier.Busy || e.Code != "(timeout)" {
			t.Errorf("got %+v, want kind busy, not sent, timeout", e)
		}
		if r.front.Calls() != calls || h.Bought("conf-until-1") != 0 {
			t.Error("a call whose time was over arrived")
		}
	})
	t.Run("its time is over while it waits", func(t *testing.T) {
		r := newRig(t, h, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}), time.Hour)
		var e *supplier.Error
		for wait := 50 * time.Millisecond; wait < 10*time.Second && (e == nil || !e.Sent); wait *= 4 { // it may be over before the machine sent it
			_, err := r.client.Place(t.Context(), supplier.Purchase{Request: h.Request("conf-until-2"), Until: time.Now().Add(wait)})
			e = failure(t, err)
		}
		if !e.Sent || e.Kind != supplier.Unknown || e.Code != "(timeout)" {
			t.Errorf("got %+v, want kind unknown, sent, timeout", e)
		}
	})
	t.Run("cancelled while waiting", func(t *testing.T) {
		arrived := make(chan struct{})
		r := newRig(t, h, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // a server notices a client's going only once it has read the body
			close(arrived)
			<-r.Context().Done()
		}), 10*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		_, err := r.client.Place(ctx, supplier.Purchase{Request: h.Request("conf-cancel-2")})
		if e := failure(t, err); !e.Sent || e.Kind != supplier.Unknown || e.Code != "(cancelled)" {
			t.Errorf("got %+v, want kind unknown, sent, cancelled", e)
		}
	})
}

func refusals(t *testing.T, h Harness) {
	for name, refusal := range h.Refusals {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, h, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range refusal.Header {
					w.Header()[k] = v
				}
				w.WriteHeader(max(refusal.Status, http.StatusOK))
				io.WriteString(w, refusal.Body)
			}), 10*time.Second)
			got, err := r.place(t, "conf-refused")
			e := failure(t, err)
			if e.Kind != refusal.Kind || e.Code != refusal.Code || !e.Sent {
				t.Errorf("got kind %s code %s (%v), want kind %s code %s", e.Kind, e.Code, e, refusal.Kind, refusal.Code)
			}
			if diff := cmp.Diff(supplier.Placement{}, got); diff != "" {
				t.Errorf("a placement beside an error:\n%s", diff)
			}
		})
	}
}

func checkRules(t *testing.T, r supplier.Rules, h Harness) {
	request := h.Request("x")
	if r.Supplier != request.Supplier || r.Product != request.Product {
		t.Errorf("rules of %s %s", r.Supplier, r.Product)
	}
	if r.Settle <= 0 || r.Looks < 1 || r.LookInterval <= 0 || r.FulfilInterval <= 0 {
		t.Errorf("a time or count is missing: %+v", r)
	}
	if !r.Repeat.Safe() && !r.LookupByOurID {
		t.Error("after an unknown outcome there is neither a look-up nor a safe repeat")
	}
	if r.HasPrice != h.HasPrice {
		t.Errorf("HasPrice %v, want %v", r.HasPrice, h.HasPrice)
	}
}
