package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/orderer"
	"github.com/simline/simline/internal/reconciler"
	"github.com/simline/simline/internal/service"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/fault"
)

// calls counts what was asked of the simulator, by path.
type calls struct {
	mu    sync.Mutex
	paths map[string]int
}

func (c *calls) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.paths[strings.TrimPrefix(r.URL.Path, "/api/v3/")]++
		c.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// spending sums the calls that may move money.
func (c *calls) spending() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, k := range c.paths {
		for _, word := range []string{"orderPackage", "purchase", "refund", "sub", "unsub", "transferPkg"} {
			if path[strings.LastIndexByte(path, '/')+1:] == word {
				n += k
			}
		}
	}
	return n
}

// TestReconcilerHealsWithoutSpending: with orderer's own looks an hour away, what the
// reconciler finds out settles orders whose answers were lost, fills in their ids and
// the details of eSIMs, and marks refunds, by evidence that orderer takes in.
func TestReconcilerHealsWithoutSpending(t *testing.T) {
	server, b := bustest.Provisioned(t, bustest.Options{})
	shop := sim.New(sim.Config{Seed: 3, ESimProcessing: 300 * time.Millisecond})
	asked := &calls{paths: map[string]int{}}
	srv := httptest.NewServer(asked.wrap(shop.Handler()))
	t.Cleanup(func() { srv.Close(); shop.Close() })
	env := []string{"NATS_URL=" + server.URL(), "EIOTCLUB_BASE_URL=" + srv.URL, "EIOTCLUB_APP_KEY=" + shop.AppKey(), "EIOTCLUB_APP_SECRET=" + shop.Secret(),
		"SUPPLIER_SETTLE=1h", "SUPPLIER_LOOK_INTERVAL=1h", "RECON_SETTLE=0s", "RECON_LOOKBACK=1h"}
	log := service.NewLogger(t.Output(), "text", "warn")

	var ocfg orderer.Config
	if err := service.LoadConfig(env, &ocfg); err != nil {
		t.Fatal(err)
	}
	book, err := ledger.New(b, "orderer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(book.Close)
	metrics := orderer.NewMetrics(prometheus.NewRegistry())
	accounts, err := orderer.NewAccounts(&ocfg, metrics, func(string, string, int, time.Time) {})
	if err != nil {
		t.Fatal(err)
	}
	buyer, err := orderer.New(ocfg, orderer.Deps{Bus: b, Ledger: book, Accounts: accounts, Log: log, Metrics: metrics, Work: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- buyer.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})

	var rcfg reconciler.Config
	if err := service.LoadConfig(env, &rcfg); err != nil {
		t.Fatal(err)
	}
	r, err := reconciler.New(t.Context(), rcfg, reconciler.Deps{Bus: b, Log: log, Metrics: prometheus.NewRegistry(), Work: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)

	// Every answer to a purchase of packages is lost; one eSIM's details are not there
	// yet when it is bought.
	shop.Faults().MustAdd(fault.Rule{Kind: fault.LostReply, Path: "package/orderPackage"}, fault.Rule{Kind: fault.LostReply, Path: "pool/sub"})
	want := map[string]order.State{}
	ask := func(req order.Request, state order.State) {
		t.Helper()
		req.Supplier, req.Account = order.EIOTCLUB, order.DefaultAccount
		data, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Publish(t.Context(), bus.NewMsg(bus.SubjectRequest(req.Supplier, req.Product), "", data)); err != nil {
			t.Fatal(err)
		}
		want[req.OrderID] = state
	}
	var cards []string
	for _, c := range shop.Cards() {
		if c.ICCID != "" && c.ProductCode != sim.OtherProduct {
			cards = append(cards, c.ICCID)
		}
	}
	for i := range 6 {
		ask(order.Request{OrderID: fmt.Sprintf("pkg-%d", i), Product: order.ProductPackage, ICCID: cards[i], PackageCode: sim.PackageCode}, order.Unknown)
	}
	ask(order.Request{OrderID: "pool", Product: order.ProductPoolPackage, PoolObjectID: strconv.Itoa(sim.SeedPoolID), PoolTypeCode: sim.PoolTypeCode}, order.Unknown)
	ask(order.Request{OrderID: "esim", Product: order.ProductESIM, GoodsCode: sim.GoodsCode}, order.Placed)
	states := func() map[string]order.State {
		out := map[string]order.State{}
		for id := range want {
			if e, found, err := book.Get(t.Context(), id); err != nil {
				t.Fatal(err)
			} else if found {
				out[id] = e.State
			}
		}
		return out
	}
	become := func(what string) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		deadline := time.After(2 * time.Minute)
		for {
			got := states()
			same := true
			for id, s := range want {
				same = same && got[id] == s
			}
			if same {
				return
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%s: %v, want %v", what, got, want)
			}
		}
	}
	become("bought, and the answers lost")
	spent := asked.spending()
	for id := range want {
		want[id] = order.Fulfilled
	}
	look := func(jobs ...string) {
		t.Helper()
		for _, job := range jobs {
			if err := r.RunOnce(t.Context(), job); err != nil {
				t.Fatal(err)
			}
		}
	}
	healed := time.NewTicker(200 * time.Millisecond)
	defer healed.Stop()
	for range 20 { // the eSIM takes a moment
		<-healed.C
		look(reconciler.JobUnsettled)
		if s := states(); s["esim"] == order.Fulfilled {
			break
		}
	}
	become("settled by evidence")
	for id := range want {
		e, _, err := book.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		there, _ := shop.Order(id)
		if e.SupplierOrderID != there.ID() || e.Evidence != order.EvidenceLookup {
			t.Errorf("%s: its id is %q by %s, theirs is %q", id, e.SupplierOrderID, e.Evidence, there.ID())
		}
		if id == "esim" && (len(e.ESIMs) != 1 || e.ESIMs[0].ActivationCode == "" || e.ESIMs[0].ICCID == "") {
			t.Error("the eSIM's details are not filled in")
		}
		if strings.HasPrefix(id, "pkg-") && (e.SupplierOrderNumber == "" || e.Total == nil) {
			t.Errorf("%s: number %q, total %v", id, e.SupplierOrderNumber, e.Total)
		}
	}
	for _, id := range []string{"pkg-1", "pkg-4"} { // behind our back, and never notified
		if err := shop.Refund(id, nil, true); err != nil {
			t.Fatal(err)
		}
		want[id] = order.Refunded
	}
	for range 20 {
		<-healed.C // a list's dates are of whole seconds
		look(reconciler.JobRecords)
		if s := states(); s["pkg-1"] == order.Refunded && s["pkg-4"] == order.Refunded {
			break
		}
	}
	become("refunds marked")
	if n := asked.spending(); n != spent {
		t.Errorf("%d calls that move money while the reconciler worked", n-spent)
	}
	for id := range want {
		if n := shop.Purchases(id); n != 1 {
			t.Errorf("%s was bought %d times", id, n)
		}
	}
}
