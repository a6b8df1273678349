package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	eiotclubsim "github.com/simline/simline/internal/sim/eiotclub"
	esimflysim "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/esimfly"
	"github.com/simline/simline/internal/wire"
)

// The lab runs one order at a time through the real engine, the real ledger on a
// real NATS server and the real clients against the simulators, on a clock of its
// own. At every durable step the process may die before or after it, fail, or be
// stopped while another one takes the order up. What comes of it is held against
// the simulators' books, and against what the engine may do at each call.

// lab is what all runs share.
type lab struct {
	t        testing.TB
	bus      *bus.Bus
	ledger   *ledger.Ledger
	open     jetstream.KeyValue
	budgets  jetstream.KeyValue
	eiotclub *eiotclubsim.Sim
	esimfly  *esimflysim.Sim
	clients  map[string]Client
	metrics  *Metrics
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, metrics: NewMetrics(prometheus.NewRegistry())}
	_, l.bus = bustest.Provisioned(t, bustest.Options{})
	var err error
	if l.ledger, err = ledger.New(l.bus, "orderer"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.ledger.Close)
	if l.open, err = l.bus.JS.KeyValue(t.Context(), bus.BucketOpenOrders); err != nil {
		t.Fatal(err)
	}
	if l.budgets, err = l.bus.JS.KeyValue(t.Context(), bus.BucketBudgets); err != nil {
		t.Fatal(err)
	}
	l.eiotclub = eiotclubsim.New(eiotclubsim.Config{Seed: 1})
	l.esimfly = esimflysim.New(esimflysim.Config{Seed: 1, RateLimit: -1})
	e, f := httptest.NewServer(l.eiotclub.Handler()), httptest.NewServer(l.esimfly.Handler())
	http := supplier.NewHTTP(supplier.HTTPConfig{Timeout: labCall, MaxConns: 8})
	t.Cleanup(func() { http.CloseIdle(); e.Close(); f.Close(); l.eiotclub.Close(); l.esimfly.Close() })
	l.clients = map[string]Client{
		order.EIOTCLUB: eiotclub.New(eiotclub.Config{BaseURL: e.URL, AppKey: l.eiotclub.AppKey(), Secret: l.eiotclub.Secret(), HTTP: http}),
		order.ESIMFly:  esimfly.New(esimfly.Config{BaseURL: f.URL, AccessCode: l.esimfly.AccessCode(), SecretKey: l.esimfly.SecretKey(), HTTP: http}),
	}
	return l
}

// labCall bounds a call in real time; the lab's own clock knows labTiming.
const labCall = 2 * time.Second

var labTiming = Timing{Timeout: 30 * time.Second, AckWait: 60 * time.Second, WaitMin: 5 * time.Second, WaitMax: 5 * time.Minute, Sweep: 5 * time.Second}

// plan is what goes wrong in a run: the first time that an operation of this name
// happens, or by chance.
type plan struct {
	op     string // "append intent", "place", "append placed", "guard", "ack", …; empty: by chance
	how    string // one of mishaps
	chance float64
	faults []fault.Rule // of the purchase; Path and Order are filled in
}

var mishaps = []string{"dies before", "dies after", "fails before", "fails after", "stalls"}

// run is one order's way through the lab.
type run struct {
	*lab
	seed  uint64
	rng   *rand.Rand
	plan  plan
	bug   *bug
	clock time.Time
	req   order.Request
	rules supplier.Rules

	life      *life
	queued    bool
	delivered uint64
	cancelled bool
	spendStop bool
	paged     *ledger.Open // what a page of the index has of the order
	mishap    int
	nested    bool
	trace     []string
	faults    []string // what was found

	history []order.Record
	sends   []send
	misses  int // "not found" heard late enough since the last call
}

// send is one purchase call, as the engine could know it.
type send struct {
	at      time.Time
	round   int
	outcome order.Certainty
	stored  bool // an event after it tells of it
}

// life is one process.
type life struct {
	*Worker
	dead bool
}

var errDead = errors.New("this process is dead")

func (r *run) note(format string, args ...any) {
	r.trace = append(r.trace, r.clock.Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

// wrong notes that the engine broke a promise.
func (r *run) wrong(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.note("WRONG: %s", text)
	r.faults = append(r.faults, text)
}

func (r *run) newLife() *life {
	w := &Worker{cfg: Config{Timing: labTiming, Concurrency: 1, OutOfStock: "wait"}, bus: r.bus, accounts: map[accountKey]*account{}, budgets: r.budgets,
		log: slog.New(slog.DiscardHandler), m: r.metrics, work: context.Background(), now: func() time.Time { return r.clock },
		random: r.rng.Float64, decide: sound, switches: &switches{log: slog.New(slog.DiscardHandler), on: map[string]bool{"all.spend_stop": r.spendStop}}}
	l := &life{Worker: w}
	m := &mortal{run: r, life: l}
	w.ledger, w.cards = m, m
	a := Account{Supplier: r.req.Supplier, Name: order.DefaultAccount, Client: m}
	acct := newAccount(a, labTiming, r.metrics, w.newBudget(a), w.clock)
	acct.budget.key += "." + r.req.OrderID // a run that shares nothing repeats identically
	w.accounts[accountKey{a.Supplier, a.Name}] = acct
	if r.bug != nil && r.bug.plant != nil {
		r.bug.plant(r, w)
	}
	return l
}

// mortal is what a process reaches the world through.
type mortal struct {
	run  *run
	life *life
}

// op does one operation, unless something goes wrong with it.
func (m *mortal) op(name string, do func() error) error {
	r := m.run
	if m.life.dead {
		return errDead
	}
	how := ""
	switch {
	case r.mishap >= 4:
	case r.plan.op == name && r.mishap == 0:
		how = r.plan.how
	case r.plan.op == "" && r.rng.Float64() < r.plan.chance:
		how = mishaps[r.rng.IntN(len(mishaps))]
	}
	if how == "stalls" && (r.nested || name == "place") {
		how = "" // a process that is stopped inside the call itself is beyond anyone's help
	}
	if how != "" {
		r.mishap++
	}
	r.note("%s %s", name, how)
	switch how {
	case "dies before":
		m.life.dead = true
		r.forget()
		return errDead
	case "dies after":
		_ = do()
		m.life.dead = true
		r.forget()
		return errDead
	case "fails before":
		if strings.HasPrefix(name, "append") {
			r.forget()
		}
		return errors.New("our side failed, nothing done")
	case "fails after":
		if err := do(); err != nil {
			return err
		}
		return fmt.Errorf("our side failed, done: %w", bus.ErrOutcomeUnknown)
	case "stalls":
		if r.rng.IntN(2) == 0 {
			err := do()
			r.stall(m.life)
			return err
		}
		r.stall(m.life)
	}
	return do()
}

// forget: what the last call's answer was is known to nobody, unless it is stored.
func (r *run) forget() {
	if n := len(r.sends); n > 0 && !r.sends[n-1].stored {
		r.sends[n-1].outcome = order.CertainUnknown
	}
}

// stall stops a process for longer than its claim on the order, while another one
// works on it.
func (r *run) stall(stopped *life) {
	r.nested = true
	known := slices.Clone(r.sends)
	r.forget()
	r.clock = r.clock.Add(labTiming.AckWait + labTiming.claim())
	r.life = r.newLife()
	for range 1 + r.rng.IntN(4) {
		if !r.step() {
			break
		}
	}
	r.note("stopped process goes on")
	r.life, r.nested = stopped, false
	if len(known) == len(r.sends) {
		r.sends = known // it still knows
	}
}

func (m *mortal) Get(ctx context.Context, id string) (e ledger.Entry, found bool, err error) {
	err = m.op("get", func() error { e, found, err = m.run.ledger.Get(ctx, id); return err })
	return e, found, err
}

func (m *mortal) Raw(ctx context.Context, id string) ([]byte, bool, error) {
	return m.run.ledger.Raw(ctx, id)
}

func (m *mortal) Append(ctx context.Context, prev ledger.Entry, next order.Record) (e ledger.Entry, err error) {
	r := m.run
	err = m.op("append "+string(next.State), func() error {
		if b := r.bug; b != nil && b.append != nil {
			e, err = b.append(r, ctx, prev, next)
		} else {
			e, err = r.ledger.Append(ctx, prev, next)
		}
		if err == nil {
			r.appended(e.Record)
		} else {
			r.note("  %v", err)
		}
		return err
	})
	return e, err
}

func (r *run) appended(rec order.Record) {
	from := order.Begin
	if n := len(r.history); n > 0 {
		from = r.history[n-1].State
	}
	if err := order.CheckMove(from, rec); err != nil {
		r.wrong("%v", err)
	}
	if rec.RequestHash != r.req.Hash() {
		r.wrong("an event of another request stands in the order's history")
	}
	r.history = append(r.history, rec)
	if n := len(r.sends); n > 0 && rec.State != order.Intent {
		r.sends[n-1].stored = true
	}
}

func (m *mortal) Guard(ctx context.Context, o ledger.Open) error {
	return m.op("guard", func() error {
		if m.run.bug != nil && m.run.bug.noGuard {
			return nil
		}
		return m.run.ledger.Guard(ctx, o)
	})
}

// Enter is Guard on a page. What lies on a page is remembered here, since the lab
// finds its order's entry without a walk through the index.
func (m *mortal) Enter(ctx context.Context, o ledger.Open) func() error {
	var err error
	return m.sometime(func() {
		err = m.op("guard", func() error {
			if m.run.bug != nil && m.run.bug.noGuard {
				return nil
			}
			err := m.run.ledger.Enter(ctx, o)()
			if err == nil {
				m.run.paged = &o
			}
			return err
		})
	}, &err)
}

// sometime does what is begun now and waited for later: at the one moment or the
// other.
func (m *mortal) sometime(do func(), err *error) func() error {
	if m.run.rng.IntN(2) == 0 {
		do()
		return func() error { return *err }
	}
	return func() error { do(); return *err }
}

// Claim of what lies on a page expects that the order has no entry of its own, as
// one of an entry without a revision does.
func (m *mortal) Claim(ctx context.Context, o ledger.Open, due time.Time) error {
	return m.op("claim", func() error {
		err := m.run.ledger.Claim(ctx, o, due)
		if o.Revision == 0 && (err == nil || errors.Is(err, ledger.ErrMoved)) {
			m.run.paged = nil
		}
		return err
	})
}

func (m *mortal) Unguard(ctx context.Context, id string) error {
	return m.op("unguard", func() error {
		if cur, _, err := m.run.ledger.Get(ctx, id); err == nil && !cur.State.Settled() {
			m.run.wrong("the entry of an order that is %s was removed", cur.State)
		}
		return m.run.ledger.Unguard(ctx, id)
	})
}

func (m *mortal) All(ctx context.Context) iter.Seq2[ledger.Open, error] { return m.run.ledger.All(ctx) }

func (m *mortal) hold(string) bool { return true }
func (m *mortal) let(string)       {}
func (m *mortal) lock(_ context.Context, object string, _ ledger.Entry, _ time.Duration) func() (bool, error) {
	if isNew(object) {
		return func() (bool, error) { return true, nil }
	}
	var mine bool
	var err error
	wait := m.sometime(func() {
		err = m.op("card lock", func() error {
			mine = m.run.rng.IntN(20) > 0 // now and then another replica has the card
			return nil
		})
	}, &err)
	return func() (bool, error) { err := wait(); return mine, err }
}

func (m *mortal) Rules(product string) (supplier.Rules, bool) {
	rules, ok := m.run.clients[m.run.req.Supplier].Rules(product)
	if m.run.bug != nil && m.run.bug.rules != nil {
		m.run.bug.rules(&rules)
	}
	return rules, ok
}
func (m *mortal) RequestID(id string, round int) string {
	return m.run.clients[m.run.req.Supplier].RequestID(id, round)
}
func (m *mortal) AdjustClock(time.Duration) {}
func (m *mortal) Price(ctx context.Context, q order.Request) (p order.Money, err error) {
	err = m.op("price", func() error { p, err = m.run.clients[q.Supplier].Price(ctx, q); return err })
	return p, err
}
func (m *mortal) Balance(ctx context.Context) (order.Money, error) {
	return m.run.clients[m.run.req.Supplier].Balance(ctx)
}

func (m *mortal) Place(ctx context.Context, p supplier.Purchase) (out supplier.Placement, err error) {
	r := m.run
	before := len(r.sends)
	err = m.op("place", func() error {
		r.mayPlace(ctx, p)
		if r.bug != nil && r.bug.purchase != nil {
			r.bug.purchase(r, &p)
		}
		r.sends = append(r.sends, send{at: r.clock, round: p.Round, outcome: order.CertainUnknown})
		out, err = r.clients[p.Supplier].Place(ctx, p)
		r.note("  answer %+v %v", out, err)
		r.misses = 0
		return err
	})
	if n := len(r.sends); n > before && !m.life.dead { // what the engine was told
		if err == nil {
			r.sends[n-1].outcome = order.CertainPlaced
		} else if e := supplier.AsError("", err); !e.Sent || e.Kind.Certainty() == order.CertainNotPlaced {
			r.sends[n-1].outcome = order.CertainNotPlaced
		}
	}
	if m.life.dead && len(r.sends) == before {
		// Nothing was sent, and whoever comes next cannot know that.
		r.sends = append(r.sends, send{at: r.clock, round: p.Round, outcome: order.CertainUnknown})
		r.misses = 0
	}
	if err != nil {
		return supplier.Placement{}, err
	}
	return out, nil
}

func (m *mortal) Lookup(ctx context.Context, q supplier.Query) (s supplier.Sighting, err error) {
	r := m.run
	err = m.op("look", func() error {
		s, err = r.clients[q.Supplier].Lookup(ctx, q)
		r.note("  says %+v %v", s, err)
		if n := len(r.sends); err == nil && !s.Found && n > 0 && !r.clock.Before(r.sends[n-1].at.Add(r.rules.Settle)) {
			r.misses++
		}
		return err
	})
	return s, err
}

// mayPlace holds a purchase against what the engine may do, known from outside.
func (r *run) mayPlace(ctx context.Context, p supplier.Purchase) {
	cur, found, err := r.ledger.Get(ctx, r.req.OrderID)
	switch {
	case err != nil:
		r.wrong("the ledger cannot be read: %v", err)
		return
	case !found || cur.State != order.Intent:
		r.wrong("a purchase without a durable intent (%s)", cur.State)
	case cur.SupplierRequestID != r.clients[p.Supplier].RequestID(p.OrderID, p.Round):
		r.wrong("a purchase under another request id than its intent's")
	}
	if r.req.ExpiresAt != nil && !r.clock.Before(*r.req.ExpiresAt) {
		r.wrong("a purchase after expires_at")
	}
	if r.cancelled && cur.CancelRequested {
		r.wrong("a purchase after a cancel was taken")
	}
	if r.spendStop {
		r.wrong("a purchase while spending is stopped")
	}
	if r.req.MaxTotal != nil && r.req.MaxTotal.Amount.IntPart() < 1 {
		r.wrong("a purchase above max_total")
	}
	if len(r.sends) == 0 {
		return
	}
	last, first := r.sends[len(r.sends)-1], r.sends[len(r.sends)-1].at
	resends := 0
	for i := len(r.sends) - 1; i >= 0 && r.sends[i].outcome == order.CertainUnknown; i-- {
		first = r.sends[i].at
		resends++
	}
	switch {
	case last.outcome == order.CertainPlaced:
		r.wrong("a purchase after one that was accepted")
	case last.outcome == order.CertainNotPlaced && resends == 0:
		// A certain refusal allows another call, and a new round.
	case p.Round != last.round:
		r.wrong("a new round after an outcome that nobody knows")
	case r.rules.LookupByOurID && r.misses < r.rules.Looks:
		r.wrong("a blind repeat: %d late looks of %d", r.misses, r.rules.Looks)
	case !r.rules.LookupByOurID && r.clock.Before(last.at.Add(r.rules.Settle)):
		r.wrong("a repeat before the supplier has settled")
	case !r.rules.LookupByOurID && resends > max(1, r.rules.Looks):
		r.wrong("repeat number %d of a call in doubt", resends)
	case r.rules.RepeatWindow > 0 && !r.clock.Before(first.Add(r.rules.RepeatWindow)):
		r.wrong("a repeat after the supplier has forgotten the first")
	}
}

// labMsg is a queue message.
type labMsg struct {
	subject string
	data    []byte
	n       uint64
}

func (m labMsg) Subject() string { return m.subject }
func (m labMsg) Data() []byte    { return m.data }
func (m labMsg) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{NumDelivered: m.n}, nil
}

// step lets the present process do one thing with the order; false if nothing is
// left to do.
func (r *run) step() bool {
	if r.life == nil || r.life.dead {
		if r.life != nil {
			r.clock = r.clock.Add(labTiming.AckWait)
		}
		r.life = r.newLife()
	}
	ctx := context.Background()
	if r.queued {
		r.deliver(ctx)
		return true
	}
	o, ok := r.entry(ctx)
	if !ok {
		return false
	}
	if n := len(r.history); n > 0 && r.history[n-1].State == order.Held && o.State == order.Held {
		return false // a person's turn
	}
	if o.Due.After(r.clock) {
		r.clock = o.Due
	}
	if r.life.isDue(o) {
		r.note("sweep %s", o.State)
		r.life.resume(ctx, o)
	} else {
		r.clock = r.clock.Add(labTiming.Sweep)
	}
	return true
}

func (r *run) entry(ctx context.Context) (ledger.Open, bool) {
	e, err := r.open.Get(ctx, r.req.OrderID)
	if err != nil && r.paged != nil {
		return *r.paged, true
	}
	if err != nil {
		return ledger.Open{}, false
	}
	o := ledger.Open{Revision: e.Revision()}
	if err := json.Unmarshal(e.Value(), &o); err != nil {
		r.wrong("entry: %v", err)
	}
	return o, true
}

func (r *run) message() labMsg {
	data, err := json.Marshal(r.req)
	if err != nil {
		panic(err)
	}
	return labMsg{bus.SubjectRequest(r.req.Supplier, r.req.Product), data, r.delivered}
}

// deliver gives the queue's message to the present process.
func (r *run) deliver(ctx context.Context) {
	r.delivered++
	r.note("delivery %d", r.delivered)
	life := r.life
	if r.bug != nil && r.bug.ackFirst {
		r.queued = false
	}
	v := life.handle(ctx, r.message())
	if life.dead {
		return
	}
	m := &mortal{run: r, life: life}
	if d, again := v.Delay(); again {
		r.clock = r.clock.Add(d)
		return
	}
	if reason, dead := v.IsDead(); dead {
		r.wrong("dead letter: %s", reason)
		r.queued = false
		return
	}
	_ = m.op("ack", func() error {
		cur, found, err := r.ledger.Get(ctx, r.req.OrderID)
		if err != nil || !found {
			r.wrong("acknowledged without an event: %v", err)
		} else if _, guarded := r.entry(ctx); !cur.State.Settled() && !guarded {
			r.wrong("acknowledged while %s and not guarded", cur.State)
		}
		r.queued = false
		return nil
	})
}

// go runs the order to its end.
func (r *run) run() {
	ctx := context.Background()
	for i := 0; ; i++ {
		if i > 300 {
			r.wrong("no end after %d steps", i)
			return
		}
		r.disturb(ctx, i)
		if !r.step() {
			break
		}
	}
	r.verify(ctx)
}

// disturb is what others do meanwhile.
func (r *run) disturb(ctx context.Context, step int) {
	if r.life == nil || r.life.dead || r.plan.op != "" {
		return
	}
	switch r.rng.IntN(40) {
	case 0:
		if !r.queued { // upstream sends the same request again
			r.queued, r.delivered = true, 0
		}
	case 1:
		if !r.cancelled && r.rng.IntN(3) == 0 {
			r.note("cancel")
			data := fmt.Appendf(nil, `{"order_id":%q,"account":"default","reason":"changed my mind"}`, r.req.OrderID)
			v := r.life.handle(ctx, labMsg{bus.SubjectCancel(r.req.Supplier), data, 1})
			r.cancelled = v.IsDone()
		}
	case 2, 3:
		r.notify(ctx)
	case 4:
		r.spendStop = !r.spendStop
		r.life.switches.on["all.spend_stop"] = r.spendStop
	case 5:
		r.note("conflicting request")
		other := r.req
		other.Metadata = json.RawMessage(`{"other":true}`)
		data, _ := json.Marshal(other)
		if len(r.history) > 0 {
			if v := r.life.handle(ctx, labMsg{r.message().subject, data, 2}); v.IsDone() {
				r.wrong("another body under the same id was taken")
			}
		}
	case 6:
		if r.req.Supplier == order.ESIMFly || r.rng.IntN(3) == 0 {
			r.note("a night passes")
			r.clock = r.clock.Add(25 * time.Hour)
		}
	case 7:
		r.missed(ctx)
	}
	if step > 30 {
		r.spendStop = false
		r.life.switches.on["all.spend_stop"] = false
	}
}

// missed is a reconciler that did not find the order.
func (r *run) missed(ctx context.Context) {
	if n := len(r.history); n == 0 || r.history[n-1].Certainty == order.CertainPlaced {
		return // that would be a contradiction, and set aside as one
	}
	r.note("evidence: not found")
	data, err := json.Marshal(wire.Evidence{OrderID: r.req.OrderID, Supplier: r.req.Supplier, Account: "default", Source: order.EvidenceLookup,
		Certainty: order.CertainNotPlaced, ObservedAt: r.clock})
	if err != nil {
		panic(err)
	}
	r.life.handleEvidence(ctx, labMsg{bus.SubjectEvidence(r.req.Supplier, r.req.OrderID), data, 1})
}

// notify brings the supplier's own notification, if it has the order.
func (r *run) notify(ctx context.Context) {
	o, ok := r.eiotclub.Order(r.req.OrderID)
	if !ok || r.req.Supplier != order.EIOTCLUB || r.req.Product == order.ProductESIM || r.req.Product == order.ProductPoolPackage {
		return
	}
	r.note("notification")
	event, row := eiotclub.EventSubPkgList, fmt.Sprintf(`{"iccid":%q,"orderId":"%d","packageCode":%q,"outTradeNo":%q,"state":"1","salesChannel":"API"}`, o.ICCID, o.OrderID, o.Code, o.OutTradeNo)
	if r.req.Product == order.ProductCloudESIMPackage {
		event, row = eiotclub.EventCloudSubPkgList, fmt.Sprintf(`{"eid":%q,"eshopOrderId":"%d","packageCode":%q,"outTradeNo":%q,"state":"1","salesChannel":"API"}`, o.EID, o.OrderID, o.Code, o.OutTradeNo)
	}
	body := fmt.Sprintf(`{"id":"n1","timestamp":%d,"nonce":12345,"sign":"x","event":%q,"data":%q}`, r.clock.Unix(), event, "["+row+"]")
	v := r.life.handleNotification(ctx, labMsg{bus.SubjectWebhook(order.EIOTCLUB, "default", event), envelope(r.t, event, body), 1})
	if reason, dead := v.IsDead(); dead && !r.life.dead {
		r.wrong("a true notification became a dead letter: %s", reason)
	}
}

// verify holds the order's end against the supplier's book.
func (r *run) verify(ctx context.Context) {
	cur, found, err := r.ledger.Get(ctx, r.req.OrderID)
	if err != nil || !found {
		r.wrong("the order is lost: %v", err)
		return
	}
	bought, theirID := r.bought()
	r.note("ends %s (%s, %s) %s, bought %d times", cur.State, cur.Certainty, cur.Evidence, cur.Reason, bought)
	if bought > 1 {
		r.wrong("bought %d times", bought)
	}
	_, guarded := r.entry(ctx)
	switch {
	case cur.State == order.Held && !guarded:
		r.wrong("held and not in the index")
	case cur.State != order.Held && !cur.State.Settled():
		r.wrong("left as %s", cur.State)
	}
	switch {
	case cur.Certainty == order.CertainPlaced && bought == 0:
		r.wrong("reported %s as placed, and not bought", cur.State)
	case cur.Certainty == order.CertainNotPlaced && bought > 0 && r.lookedFor() && r.hidden():
		// The supplier hid it for longer than its table says, from every look; that it
		// was then cancelled or expired stands on the same proof. The reconciler finds it.
	case cur.Certainty == order.CertainNotPlaced && bought > 0:
		r.wrong("reported %s as not placed, and bought", cur.State)
	case cur.SupplierOrderID != "" && bought > 0 && cur.SupplierOrderID != theirID:
		r.wrong("reported as %s, and is %s there", cur.SupplierOrderID, theirID)
	}
	// Where the supplier tells, nothing may be left to a person that a look settles.
	if cur.State == order.Held && r.rules.LookupByOurID && bought == 1 && !r.hidden() && !cur.CancelRequested && r.req.ExpiresAt == nil {
		r.wrong("held although a look finds it: %s", cur.Reason)
	}
}

// lookedFor: late looks proved that the order was not placed.
func (r *run) lookedFor() bool {
	return slices.ContainsFunc(r.history, func(e order.Record) bool {
		return e.Certainty == order.CertainNotPlaced && e.Evidence == order.EvidenceLookup
	})
}

func (r *run) hidden() bool {
	return slices.ContainsFunc(r.plan.faults, func(f fault.Rule) bool { return f.Kind == fault.Hide })
}

func (r *run) bought() (n int, id string) {
	if r.req.Supplier == order.EIOTCLUB {
		n = r.eiotclub.Purchases(r.req.OrderID)
		if o, ok := r.eiotclub.Order(r.req.OrderID); ok {
			id = o.ID()
		}
		for i := range 12 { // under ids that only a bug would make
			n += r.eiotclub.Purchases(fmt.Sprintf("%s-%d", r.req.OrderID, i))
		}
		return n, id
	}
	for round := range 30 {
		request := esimfly.RequestID(r.req.OrderID, round)
		k := r.esimfly.Purchases(request)
		n += k
		if o, ok := r.esimfly.Order(request); ok && k > 0 {
			id = o.Reference
		}
	}
	return n, id
}

// newRun makes a run whose every choice comes from seed.
func (l *lab) newRun(name string, seed uint64, p plan, b *bug, product int) *run {
	r := &run{lab: l, seed: seed, rng: rand.New(rand.NewPCG(seed, 0xc4a05)), plan: p, bug: b, queued: true,
		clock: time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)}
	if product < 0 {
		product = r.rng.IntN(len(products))
	}
	r.req = products[product].request(fmt.Sprintf("%s-%d", name, seed))
	if r.req.ICCID != "" {
		r.req.ICCID = fmt.Sprintf("8988308%013d", labCards.Add(1))
	}
	if r.req.EID != "" {
		r.req.EID = fmt.Sprintf("3506%028d", labCards.Add(1))
	}
	if p.op == "" {
		switch r.rng.IntN(12) {
		case 0:
			at := r.clock.Add(time.Duration(r.rng.IntN(600)) * time.Second)
			r.req.ExpiresAt = &at
		case 1:
			m := mustMoney("0.01", "USD")
			r.req.MaxTotal = &m
		case 2:
			m := mustMoney("1000.00", "USD")
			r.req.MaxTotal = &m
		}
	}
	r.rules, _ = l.clients[r.req.Supplier].Rules(r.req.Product)
	return r
}

var labCards atomic.Int64

func mustMoney(amount, currency string) order.Money {
	m, err := order.NewMoney(amount, currency)
	if err != nil {
		panic(err)
	}
	return m
}

// arm puts the run's faults in force and returns how to take them back.
func (r *run) arm() func() {
	set, ids := r.eiotclub.Faults(), []string{r.req.OrderID}
	path := "" // eIOTCLUB's calls are told apart by the order's id
	if r.req.Supplier == order.ESIMFly {
		set, ids = r.esimfly.Faults(), nil
		for round := range 4 {
			ids = append(ids, esimfly.RequestID(r.req.OrderID, round))
		}
	}
	var armed []int
	for _, f := range r.plan.faults {
		for _, id := range ids {
			f.Order, f.Path = id, path
			n, err := set.Add(f)
			if err != nil {
				r.t.Error(err)
			}
			armed = append(armed, n...)
		}
	}
	return func() {
		for _, id := range armed {
			set.Remove(id)
		}
	}
}

// report is what a failed run shows.
func (r *run) report() string {
	var kinds []string
	for _, f := range r.plan.faults {
		kinds = append(kinds, fmt.Sprintf("%s×%d", f.Kind, f.Times))
	}
	return fmt.Sprintf("seed %d, %s %s, faults %v, plan %q %q:\n  %s\n%s", r.seed, r.req.Supplier, r.req.Product, kinds, r.plan.op, r.plan.how,
		strings.Join(r.faults, "\n  "), strings.Join(r.trace, "\n"))
}

// callFaults are the ways in which a purchase, or a look, goes wrong.
var callFaults = []fault.Kind{fault.Reset, fault.LostReply, fault.StatusBefore, fault.StatusAfter, fault.HalfBody, fault.HTMLBefore, fault.HTMLAfter,
	fault.TooManyRequests, fault.NoFunds, fault.OutOfStock, fault.CodeBefore, fault.CodeAfter, fault.DuplicateWithData, fault.DuplicateBare, fault.DuplicateReplay, fault.Hide}

func labFault(k fault.Kind, rng *rand.Rand) fault.Rule {
	f := fault.Rule{Kind: k, Times: 1 + rng.IntN(2)}
	switch k {
	case fault.CodeBefore, fault.CodeAfter:
		f.Code = []string{"500", "43331", "999999", "ORDER_PROCESSING_ERROR"}[rng.IntN(4)]
	case fault.TooManyRequests, fault.NoFunds, fault.OutOfStock:
		f.After = rng.IntN(3) // of a repeat as well as of the first call
	case fault.Hide:
		f.Looks = 1 + rng.IntN(12)
	}
	return f
}

// chaosPlan is a random run's.
func chaosPlan(seed uint64) plan {
	rng := rand.New(rand.NewPCG(seed, 0xfa017))
	p := plan{chance: []float64{0, 0.05, 0.15, 0.3}[rng.IntN(4)]}
	for range rng.IntN(4) {
		p.faults = append(p.faults, labFault(callFaults[rng.IntN(len(callFaults))], rng))
	}
	return p
}

// all runs n runs side by side and reports what goes wrong, until three did.
func (l *lab) all(n int, make func(i int) *run) {
	var failed atomic.Int64
	l.until(n, func(i int) bool {
		r := make(i)
		disarm := r.arm()
		r.run()
		disarm()
		if len(r.faults) > 0 {
			failed.Add(1)
			l.t.Errorf("%s", r.report())
		}
		return failed.Load() >= 3
	})
}

// until calls one for 0 … n-1, several side by side, until it says enough.
func (l *lab) until(n int, one func(i int) (enough bool)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	var enough atomic.Bool
	for range 4 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && !enough.Load(); i = next.Add(1) - 1 {
				if one(int(i)) {
					enough.Store(true)
				}
			}
		})
	}
	wg.Wait()
}
