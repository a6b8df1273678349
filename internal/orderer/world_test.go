package orderer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	eiotclubsim "github.com/simline/simline/internal/sim/eiotclub"
	esimflysim "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/esimfly"
	"github.com/simline/simline/internal/wire"
)

// world is a real NATS server, both simulators and a worker between them.
type world struct {
	t        testing.TB
	server   *bustest.Server
	bus      *bus.Bus
	ledger   *ledger.Ledger
	eiotclub *eiotclubsim.Sim
	esimfly  *esimflysim.Sim
	worker   *Worker
	accounts []Account
	timing   Timing
}

// quickTiming makes what takes minutes in life take milliseconds, but for what bounds a
// call and an order in hand: a busy machine takes its time over either, and an order
// that is in doubt for that, or was not sent, is none that a test means.
var quickTiming = Timing{Timeout: 10 * time.Second, Settle: 60 * time.Millisecond, LookInterval: 20 * time.Millisecond,
	AckWait: time.Minute, WaitMin: 20 * time.Millisecond, WaitMax: 100 * time.Millisecond, Sweep: 20 * time.Millisecond}

// impatient is quickTiming for tests in which calls time out and workers die. What
// becomes of an order then hangs on the machine as well.
func impatient() Timing {
	t := quickTiming
	t.Timeout, t.AckWait = 300*time.Millisecond, 2*time.Second
	return t
}

func newWorld(t testing.TB, change ...func(*Config, []Account)) *world {
	t.Helper()
	return newWorldAt(t, quickTiming, change...)
}

func newWorldAt(t testing.TB, timing Timing, change ...func(*Config, []Account)) *world {
	t.Helper()
	w := &world{t: t, timing: timing}
	settings := bus.DefaultSettings()
	settings.AckWait = timing.AckWait
	w.server = bustest.Start(t, bustest.Options{})
	w.bus = w.server.Provision(settings)
	w.eiotclub = eiotclubsim.New(eiotclubsim.Config{Seed: 1})
	w.esimfly = esimflysim.New(esimflysim.Config{Seed: 1})
	t.Cleanup(w.eiotclub.Close)
	t.Cleanup(w.esimfly.Close)
	e := httptest.NewServer(w.eiotclub.Handler())
	f := httptest.NewServer(w.esimfly.Handler())
	t.Cleanup(e.Close)
	t.Cleanup(f.Close)
	http := supplier.NewHTTP(supplier.HTTPConfig{Timeout: timing.Timeout})
	t.Cleanup(http.CloseIdle)
	w.accounts = []Account{
		{Supplier: order.EIOTCLUB, Name: "default", Client: eiotclub.New(eiotclub.Config{BaseURL: e.URL, AppKey: w.eiotclub.AppKey(), Secret: w.eiotclub.Secret(), HTTP: http})},
		{Supplier: order.ESIMFly, Name: "default", Client: esimfly.New(esimfly.Config{BaseURL: f.URL, AccessCode: w.esimfly.AccessCode(), SecretKey: w.esimfly.SecretKey(), HTTP: http})},
	}
	var err error
	if w.ledger, err = ledger.New(w.bus, "orderer"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.ledger.Close)
	w.worker = w.newWorker(change...)
	return w
}

func (w *world) newWorker(change ...func(*Config, []Account)) *Worker {
	w.t.Helper()
	cfg := Config{Timing: w.timing, Concurrency: 16, OutOfStock: "wait"}
	accounts := append([]Account(nil), w.accounts...)
	for _, c := range change {
		c(&cfg, accounts)
	}
	worker, err := New(cfg, Deps{Bus: w.bus, Ledger: w.ledger, Accounts: accounts, Metrics: NewMetrics(prometheus.NewRegistry()), Work: context.Background()})
	if err != nil {
		w.t.Fatal(err)
	}
	return worker
}

// calm takes the breakers out, for tests in which everything fails on purpose.
func (w *world) calm() {
	for _, a := range w.worker.accounts {
		a.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{ReadyToTrip: func(gobreaker.Counts) bool { return false }})
	}
}

// run lets the worker work until the test ends.
func (w *world) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done, worker := make(chan error, 1), w.worker
	go func() { done <- worker.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("worker: %v", err)
		}
	})
}

// products are a request of each product that can be bought.
var products = []struct {
	name    string
	request func(id string) order.Request
}{
	{"eiotclub package", packageOrder},
	{"eiotclub esim", func(id string) order.Request {
		return order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductESIM, Account: "default", GoodsCode: eiotclubsim.GoodsCode}
	}},
	{"eiotclub cloud_esim_package", func(id string) order.Request {
		return order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductCloudESIMPackage, Account: "default", EID: eiotclubsim.SeedEID, PackageCode: eiotclubsim.CloudPackageCode}
	}},
	{"eiotclub pool_package", func(id string) order.Request {
		return order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPoolPackage, Account: "default", PoolObjectID: fmt.Sprint(eiotclubsim.SeedPoolID), PoolTypeCode: eiotclubsim.PoolTypeCode}
	}},
	{"esimfly esim", flyOrder},
}

func packageOrder(id string) order.Request {
	return order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", ICCID: eiotclubsim.SeedICCID, PackageCode: eiotclubsim.PackageCode}
}

func flyOrder(id string) order.Request {
	price, err := order.NewMoney("2.72", "USD")
	if err != nil {
		panic(err)
	}
	return order.Request{OrderID: id, Supplier: order.ESIMFly, Product: order.ProductESIM, Account: "default", PackageCode: esimflysim.PackageCode,
		PackageName: esimflysim.PackageName, Price: &price, Quantity: 2}
}

// bought is how often the suppliers' books say that an order was bought.
func (w *world) bought(r order.Request) int {
	if r.Supplier == order.ESIMFly {
		n := 0
		for round := range 20 {
			n += w.esimfly.Purchases(esimfly.RequestID(r.OrderID, round))
		}
		return n
	}
	return w.eiotclub.Purchases(r.OrderID)
}

func (w *world) publish(r order.Request) {
	w.t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.send(bus.SubjectRequest(r.Supplier, r.Product), data)
}

func (w *world) send(subject string, data []byte) {
	w.t.Helper()
	if _, err := w.bus.Publish(w.t.Context(), &nats.Msg{Subject: subject, Data: data}); err != nil {
		w.t.Fatal(err)
	}
}

// patience is how long a test waits for what has to come about. It only ends those that
// would hang.
const patience = 2 * time.Minute

// events follows the events of the orders from here on, as they are stored: who
// subscribes to them hears of each a moment before the ledger can be asked for it.
func (w *world) events() func(id string, want ...order.State) order.Record {
	w.t.Helper()
	s, err := w.bus.JS.Stream(w.t.Context(), bus.StreamOrderEvents)
	if err != nil {
		w.t.Fatal(err)
	}
	from := s.CachedInfo().State.LastSeq + 1
	history, unread := map[string][]order.Record{}, []bus.Stored(nil)
	// wait returns the order's record once it reached one of the wanted states.
	return func(id string, want ...order.State) order.Record {
		w.t.Helper()
		reached := func() (order.Record, bool) {
			if h := history[id]; len(h) > 0 {
				for _, s := range want {
					if h[len(h)-1].State == s {
						return h[len(h)-1], true
					}
				}
			}
			return order.Record{}, false
		}
		for deadline := time.Now().Add(patience); ; {
			if r, ok := reached(); ok {
				return r
			}
			for len(unread) == 0 {
				if unread, _, err = w.bus.Range(w.t.Context(), bus.StreamOrderEvents, ">", from, 256); err != nil {
					w.t.Fatal(err)
				}
				if len(unread) > 0 {
					break
				}
				if time.Now().After(deadline) {
					w.t.Fatalf("order %s did not reach %v in %s; it went through %s", id, want, patience, path(history[id]))
				}
				tick(w.t)
			}
			r, _, err := wire.DecodeOrderEvent(unread[0].Data)
			if err != nil {
				w.t.Fatal(err)
			}
			from, unread = unread[0].Sequence+1, unread[1:]
			history[r.OrderID] = append(history[r.OrderID], r)
		}
	}
}

func path(records []order.Record) string {
	out := ""
	for _, r := range records {
		out += fmt.Sprintf(" %s(%s %s)", r.State, r.Certainty, r.Evidence)
		if r.Error != nil {
			out += fmt.Sprintf("[%s %s %s]", r.Error.Kind, r.Error.Code, r.Error.Message)
		}
		if r.Reason != "" {
			out += "{" + r.Reason + "}"
		}
	}
	return out
}
