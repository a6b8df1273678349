package orderer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/order"
	eiotclubsim "github.com/simline/simline/internal/sim/eiotclub"
	esimflysim "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/esimfly"
)

// front puts a handler before both suppliers' accounts: it answers itself, or false.
func (w *world) front(answer func(supplier string, rw http.ResponseWriter, r *http.Request) bool) {
	w.t.Helper()
	serve := func(name string, behind http.Handler) string {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if !answer(name, rw, r) {
				behind.ServeHTTP(rw, r)
			}
		}))
		w.t.Cleanup(s.Close)
		return s.URL
	}
	calls := supplier.NewHTTP(supplier.HTTPConfig{Timeout: w.timing.Timeout})
	w.t.Cleanup(calls.CloseIdle)
	w.accounts[0].Client = eiotclub.New(eiotclub.Config{BaseURL: serve(order.EIOTCLUB, w.eiotclub.Handler()), AppKey: w.eiotclub.AppKey(), Secret: w.eiotclub.Secret(), HTTP: calls})
	w.accounts[1].Client = esimfly.New(esimfly.Config{BaseURL: serve(order.ESIMFly, w.esimfly.Handler()), AccessCode: w.esimfly.AccessCode(), SecretKey: w.esimfly.SecretKey(), HTTP: calls})
	w.worker = w.newWorker()
}

// What is accepted and not there yet is followed until it is.
func TestFollowedUntilFulfilled(t *testing.T) {
	w := newWorld(t)
	w.eiotclub = eiotclubsim.New(eiotclubsim.Config{Seed: 1, ESimProcessing: 100 * time.Millisecond})
	w.esimfly = esimflysim.New(esimflysim.Config{Seed: 1, PendingEvery: 1, PendingLooks: 2})
	t.Cleanup(w.eiotclub.Close)
	t.Cleanup(w.esimfly.Close)
	w.front(func(string, http.ResponseWriter, *http.Request) bool { return false })
	wait := w.events()
	w.run()
	one := flyOrder("pending")
	one.Quantity = 1
	w.publish(products[1].request("processing"))
	w.publish(one)
	for _, id := range []string{"processing", "pending"} {
		got := wait(id, order.Fulfilled)
		if len(got.ESIMs) != 1 || got.ESIMs[0].ICCID == "" || got.ESIMs[0].ActivationCode+got.ESIMs[0].QRCodeURL == "" {
			t.Errorf("%s: fulfilled with %+v", id, got.ESIMs)
		}
		if got.Evidence != order.EvidenceLookup || got.SupplierOrderID == "" || got.Attempt != 1 {
			t.Errorf("%s: fulfilled as %+v", id, got)
		}
	}
	w.settled()
}

// A supplier that fails again and again is left alone; the other one is not.
func TestBreakerOpensAndCloses(t *testing.T) {
	w := newWorld(t)
	var down atomic.Bool
	down.Store(true)
	w.front(func(name string, rw http.ResponseWriter, _ *http.Request) bool {
		if name != order.EIOTCLUB || !down.Load() {
			return false
		}
		rw.WriteHeader(http.StatusBadGateway)
		return true
	})
	wait := w.events()
	w.run()
	const n = 40
	for i := range n {
		r := packageOrder(fmt.Sprint("b", i))
		r.ICCID = fmt.Sprintf("89883086501009%05d", i)
		w.publish(r)
	}
	waited := false
	for i := range n {
		got := wait(fmt.Sprint("b", i), order.Unknown, order.Waiting)
		waited = waited || got.State == order.Waiting && got.WaitingFor == forBreaker
	}
	if !waited {
		t.Error("no order waited for the breaker")
	}
	open := w.worker.m.breaker.WithLabelValues(order.EIOTCLUB, "default")
	// One call in each pause tries, and the breaker is half open as long as it lasts.
	until(t, "the metric says that the breaker is open", func() bool { return testutil.ToFloat64(open) == 1 })
	w.publish(flyOrder("other"))
	wait("other", order.Fulfilled)
	down.Store(false)
	for i := range n {
		wait(fmt.Sprint("b", i), order.Fulfilled)
	}
	for i := range n {
		if k := w.eiotclub.Purchases(fmt.Sprint("b", i)); k != 1 {
			t.Errorf("order b%d was bought %d times", i, k)
		}
	}
	if testutil.ToFloat64(open) != 0 {
		t.Error("the metric says that the breaker is still open")
	}
	w.settled()
}

// An account whose set-up is wrong stops, says so, and goes on by itself once it is
// put right: nothing has to be restarted, and no order is lost.
func TestSetUpPutRightResumes(t *testing.T) {
	w := newWorld(t)
	var wrong atomic.Bool
	wrong.Store(true)
	w.front(func(name string, rw http.ResponseWriter, _ *http.Request) bool {
		if name != order.EIOTCLUB || !wrong.Load() {
			return false
		}
		fmt.Fprint(rw, `{"code":"42104","message":"ip: is not authorized"}`)
		return true
	})
	wait := w.events()
	w.run()
	for i := range 5 { // each for a card of its own: none waits for another's
		w.publish(esimOrder(fmt.Sprint("ip", i)))
	}
	for i := range 5 {
		if got := wait(fmt.Sprint("ip", i), order.Waiting); got.WaitingFor != "setup" {
			t.Errorf("waits for %q", got.WaitingFor)
		}
	}
	stopped := w.worker.m.stopped.WithLabelValues(order.EIOTCLUB, "default")
	if testutil.ToFloat64(stopped) != 1 {
		t.Error("the metric that alerts does not say that the account is stopped")
	}
	wrong.Store(false)
	for i := range 5 {
		wait(fmt.Sprint("ip", i), order.Fulfilled)
	}
	if testutil.ToFloat64(stopped) != 0 {
		t.Error("the metric says that the account is still stopped")
	}
	w.settled()
}

// eSIMfly's clock, measured by its Date header and corrected for: our own is the one
// that is wrong.
func TestClockDriftOfESIMFlyIsCorrected(t *testing.T) {
	w := newWorld(t)
	w.esimfly = esimflysim.New(esimflysim.Config{Seed: 2, Clock: func() time.Time { return time.Now().Add(-20 * time.Minute) }})
	t.Cleanup(w.esimfly.Close)
	w.front(func(_ string, rw http.ResponseWriter, _ *http.Request) bool {
		rw.Header().Set("Date", time.Now().Add(-20*time.Minute).UTC().Format(http.TimeFormat))
		return false
	})
	wait := w.events()
	w.run()
	r := flyOrder("clock")
	w.publish(r)
	got := wait("clock", order.Fulfilled)
	if n := w.bought(r); n != 1 || got.Round > 1 { // the balance may have been asked for first
		t.Errorf("bought %d times in round %d", n, got.Round)
	}
	if drift := testutil.ToFloat64(w.worker.m.drift.WithLabelValues(order.ESIMFly, "default")); drift > -1190 || drift < -1210 {
		t.Errorf("drift measured as %.0f s, want -1200", drift)
	}
}

// A supplier that answers nothing at all slows down nobody but itself: while its calls
// hang in all the slots that there are, for requests and for looks, the other's orders
// are bought.
func TestASlowSupplierDoesNotSlowTheOther(t *testing.T) {
	timing := quickTiming
	timing.Timeout, timing.AckWait = 5*patience, 6*patience // no call is given up before this ends
	w := newWorldAt(t, timing)
	free := make(chan struct{})
	var silent atomic.Bool
	var hanging atomic.Int64
	w.front(func(name string, rw http.ResponseWriter, r *http.Request) bool {
		switch {
		case name != order.EIOTCLUB || strings.HasSuffix(r.URL.Path, "/balance"):
			return false
		case !silent.Load():
			rw.WriteHeader(http.StatusBadGateway)
		default:
			hanging.Add(1)
			<-free
		}
		return true
	})
	w.calm()
	wait := w.events()
	w.run()
	t.Cleanup(func() { close(free) })
	slots := 2 * w.worker.cfg.Concurrency
	slow := func(name string) {
		for i := range slots {
			r := packageOrder(fmt.Sprint(name, i))
			r.ICCID = fmt.Sprintf("89883086501009%05d", i)
			w.publish(r)
		}
	}
	slow("look")
	for i := range slots {
		wait(fmt.Sprint("look", i), order.Unknown)
	}
	silent.Store(true)
	slow("buy")
	until(t, "calls hang in every slot", func() bool { return int(hanging.Load()) == slots })
	for i := range 20 {
		w.publish(flyOrder(fmt.Sprint("quick", i)))
	}
	for i := range 20 {
		wait(fmt.Sprint("quick", i), order.Fulfilled)
	}
	if n := int(hanging.Load()); n != slots {
		t.Errorf("%d calls hung in %d slots", n, slots)
	}
}

// What looks prove was not placed is certain from then on, whatever keeps it from
// being sent again: it waits, or its time is over.
func TestNotFoundAndNotSent(t *testing.T) {
	w := newWorld(t)
	set := w.dayClock(time.Now())
	wait := w.events()
	w.run()
	// doubt makes an order unknown whose looks tell nothing until the faults are cleared.
	doubt := func(r order.Request) {
		w.hideFromLooks(r.OrderID)
		w.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.StatusBefore, Order: r.OrderID, Path: "package/orderPackage", Times: 1})
		w.publish(r)
		wait(r.OrderID, order.Unknown)
	}
	t.Run("it waits", func(t *testing.T) {
		r := packageOrder("nf-waits")
		doubt(r)
		w.setSwitch("eiotclub.spend_stop", "true")
		w.eiotclub.Faults().Clear()
		got := wait(r.OrderID, order.Waiting)
		if got.Certainty != order.CertainNotPlaced || got.Evidence != order.EvidenceLookup || got.InDoubt || got.WaitingFor != forSwitch {
			t.Errorf("waits as %+v", got)
		}
		w.setSwitch("eiotclub.spend_stop", "false")
		wait(r.OrderID, order.Fulfilled)
		if n := w.bought(r); n != 1 {
			t.Errorf("bought %d times", n)
		}
	})
	t.Run("it expires", func(t *testing.T) {
		r := packageOrder("nf-expires")
		at := time.Now().Add(time.Hour)
		r.ExpiresAt = &at
		doubt(r)
		set(at)
		w.eiotclub.Faults().Clear()
		got := wait(r.OrderID, order.Expired)
		if got.Certainty != order.CertainNotPlaced || got.Evidence != order.EvidenceLookup || w.bought(r) != 0 {
			t.Errorf("expired as %+v, bought %d times", got, w.bought(r))
		}
	})
	w.settled()
}
