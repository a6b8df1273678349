package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/e2e"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
	simesimfly "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/wire"
)

// The path of a bad afternoon, from a terminal, on the real workers: submit →
// watch → the supplier breaks → see it → pause → resolve what is held → replay the
// dead letters → resume → all books equal.
func TestBadAfternoonScript(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all binaries")
	}
	s, err := e2e.NewStage(t.Context(), e2e.StageConfig{Dir: t.TempDir(), Progress: func(what string) { t.Log(what) }, Since: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := s.Plant(); err != nil {
		t.Fatal(err)
	}
	for _, l := range deadOfTheAfternoon() {
		if err := s.Bus.DeadBytes(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	fly := s.Stack.ESIMFly
	const buy = "POST /api/v1/business/esims/order"
	rules := func(list ...fault.Rule) func(*testscript.TestScript, bool, []string) {
		return func(*testscript.TestScript, bool, []string) { fly.Faults().MustAdd(list...) }
	}
	env := append(s.Stack.Env(), "GOODS="+simeiotclub.GoodsCode, "PACKAGE="+simesimfly.PackageCode, "PACKAGENAME="+simesimfly.PackageName, "SEQUENCE=2")
	scripts(t, "afternoon*", env, map[string]func(*testscript.TestScript, bool, []string){
		// It buys, and the answer is lost.
		"loseanswer": rules(fault.Rule{Kind: fault.LostReply, Path: buy, Times: 1}),
		// The call dies on the way, and the same call again is said to be a duplicate
		// although nothing was bought: only a person can find out.
		"lie": rules(fault.Rule{Kind: fault.Reset, Path: buy, Times: 1}, fault.Rule{Kind: fault.CodeBefore, Code: "DUPLICATE_REQUEST", Path: buy, After: 1}),
		"heal": func(ts *testscript.TestScript, _ bool, _ []string) {
			fly.Faults().Clear()
			r, err := s.Ledger.Records()
			ts.Check(err)
			o, ok := fly.Order(r["lost-1"].SupplierRequestID)
			if !ok || fly.Purchases(r["lost-2"].SupplierRequestID) != 0 {
				ts.Fatalf("the supplier has %v of lost-1 and %d of lost-2", ok, fly.Purchases(r["lost-2"].SupplierRequestID))
			}
			ts.Setenv("REFERENCE", o.Reference)
		},
		// until STATE ID: the order comes into the state.
		"until": func(ts *testscript.TestScript, _ bool, args []string) {
			for deadline := time.Now().Add(2 * time.Minute); ; {
				r, err := s.Ledger.Records()
				ts.Check(err)
				if string(r[args[1]].State) == args[0] {
					return
				}
				if time.Now().After(deadline) {
					ts.Fatalf("order %s is %s", args[1], r[args[1]].State)
				}
				<-time.After(50 * time.Millisecond)
			}
		},
		"books": func(ts *testscript.TestScript, _ bool, ids []string) {
			if figures, err := equalBooks(t, s, ids); err != nil {
				ts.Fatalf("%v\n%s", err, figures)
			}
		},
	})
}

// deadOfTheAfternoon are a request that was given up after many tries, and one
// that somebody mistyped.
func deadOfTheAfternoon() []bus.DeadLetter {
	good := fmt.Sprintf(`{"order_id":"dead-1","supplier":"eiotclub","product":"esim","goods_code":%q}`, simeiotclub.GoodsCode)
	typo := strings.Replace(strings.Replace(good, "dead-1", "dead-2", 1), "goods_code", "good_code", 1)
	on := bus.SubjectRequest("eiotclub", "esim")
	return []bus.DeadLetter{
		{Stream: bus.StreamOrders, Subject: on, Data: []byte(good), Reason: wire.ReasonMaxDeliveries, Cause: errors.New("given up after 20 tries"), Attempts: "20"},
		{Stream: bus.StreamOrders, Subject: on, Data: []byte(typo), Reason: wire.ReasonSchema, Cause: errors.New(`unknown field "good_code"`)},
	}
}

// equalBooks waits until everybody's books agree about the orders.
func equalBooks(t *testing.T, s *e2e.Stage, ids []string) (string, error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		books, err := s.Books(t.Context(), ids)
		if err != nil {
			return "", err
		}
		figures := books.Compare(false)
		if !slices.ContainsFunc(figures, func(f e2e.Figure) bool { return !f.OK }) {
			t.Log("\n" + e2e.RenderFigures(figures))
			return "", nil
		}
		if time.Now().After(deadline) {
			return e2e.RenderFigures(figures), e2e.ErrBooksDiffer
		}
		select {
		case <-t.Context().Done():
			return "", t.Context().Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// The corrected body of the script names what the simulator sells.
func TestAfternoonNamesWhatIsSold(t *testing.T) {
	b, err := os.ReadFile("testdata/script/afternoon.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(`"goods_code":"`+simeiotclub.GoodsCode+`"`)) {
		t.Errorf("corrected.json does not order %s", simeiotclub.GoodsCode)
	}
}
