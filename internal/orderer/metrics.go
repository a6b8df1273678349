package orderer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/order"
)

// Metrics are orderer's figures. No label is an id.
type Metrics struct {
	transitions *prometheus.CounterVec   // supplier, product, state, evidence
	placeTime   *prometheus.HistogramVec // supplier: from the request's acceptance to placed or fulfilled
	calls       *prometheus.HistogramVec // supplier, op, code
	dead        *prometheus.CounterVec   // supplier, reason
	looks       *prometheus.CounterVec   // supplier, said
	closed      *prometheus.CounterVec   // supplier, gate
	evidence    *prometheus.CounterVec   // supplier, source, effect
	stopped     *prometheus.GaugeVec     // supplier, account
	breaker     *prometheus.GaugeVec     // supplier, account
	drift       *prometheus.GaugeVec     // supplier, account
	balance     *prometheus.GaugeVec     // supplier, account, currency
	open        *prometheus.GaugeVec     // supplier, state
	overdue     *prometheus.GaugeVec     // supplier
	oldest      *prometheus.GaugeVec     // supplier
	inDoubt     *prometheus.GaugeVec     // supplier, account
	unpriced    *prometheus.GaugeVec     // supplier, account
	atStake     *prometheus.GaugeVec     // supplier, account, currency
	switches    *prometheus.GaugeVec     // supplier, switch
	sweepTime   prometheus.Histogram
	failures    *prometheus.CounterVec // step
	lateCancels *prometheus.CounterVec // supplier
	kept        *prometheus.GaugeVec   // supplier
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "simline_orderer_" + name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "simline_orderer_" + name, Help: help}, labels)
		reg.MustRegister(g)
		return g
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "simline_orderer_" + name, Help: help,
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}, labels)
		reg.MustRegister(h)
		return h
	}
	m := &Metrics{
		transitions: counter("transitions_total", "Order events written, by the state that the order came to and what decided it.", "supplier", "product", "state", "evidence"),
		placeTime:   histogram("placed_seconds", "From the acceptance of a request to the supplier's acceptance of the order.", "supplier"),
		calls:       histogram("supplier_call_seconds", "Calls to suppliers, by endpoint and the answer's code.", "supplier", "op", "code"),
		dead:        counter("dead_letters_total", "Messages that could not be taken, by reason.", "supplier", "reason"),
		looks:       counter("looks_total", "Looks at orders, by what the supplier said.", "supplier", "said"),
		closed:      counter("gates_closed_total", "Orders that were not sent yet, by what was in the way.", "supplier", "gate"),
		evidence:    counter("evidence_total", "Pieces of evidence from outside, by source and what they did to the order.", "supplier", "source", "effect"),
		stopped:     gauge("account_stopped", "1 while an account is left alone because its set-up is wrong (key, signature, IP list, clock). Alert.", "supplier", "account"),
		breaker:     gauge("breaker_open", "1 while an account's breaker is open.", "supplier", "account"),
		drift:       gauge("clock_drift_seconds", "How far the supplier's clock was ahead of ours when it last refused a timestamp.", "supplier", "account"),
		balance:     gauge("balance", "An account's balance when it was last seen.", "supplier", "account", "currency"),
		open:        gauge("open_orders", "Open orders that left the queue, at the last sweep.", "supplier", "state"),
		overdue:     gauge("open_oldest_overdue_seconds", "How long the most overdue open order has been due, at the last sweep.", "supplier"),
		oldest:      gauge("open_oldest_seconds", "Age of the oldest order that left the queue unsettled, since its request was first seen, at the last sweep.", "supplier"),
		inDoubt:     gauge("in_doubt_orders", "Open orders that a call may have placed and nothing says whether it did, at the last sweep.", "supplier", "account"),
		unpriced:    gauge("in_doubt_unpriced_orders", "Those of the orders in doubt whose price nothing told: they are not in the money in doubt.", "supplier", "account"),
		atStake:     gauge("money_in_doubt", "What the orders in doubt may have cost: by the supplier's word, the price list, or at most by what upstream allows. Absent: none.", "supplier", "account", "currency"),
		switches:    gauge("switch_on", "1 while a person has switched something off: pause (no call at all) or spend_stop (nothing is bought), for one supplier or all.", "supplier", "switch"),
		sweepTime:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "simline_orderer_sweep_seconds", Help: "Walks through the index of open orders.", Buckets: prometheus.ExponentialBuckets(.001, 4, 9)}),
		failures:    counter("failures_total", "Steps that failed on our side and are tried again.", "step"),
		lateCancels: counter("late_cancels_total", "Cancels that came after the order was placed or settled.", "supplier"),
		kept:        gauge("queue_kept", "1 while a supplier's requests that are done are not purged from ORDERS, because somebody changed the durable (a limit of deliveries) so that the server may pass over one that is not.", "supplier"),
	}
	reg.MustRegister(m.sweepTime)
	return m
}

// moved counts a transition.
func (m *Metrics) moved(from order.State, r *order.Record) {
	evidence := string(r.Evidence)
	if evidence == "" {
		evidence = "none"
	}
	m.transitions.WithLabelValues(r.Supplier, r.Product, string(r.State), evidence).Inc()
	wasPlaced := from == order.Placed || from == order.Fulfilled
	if (r.State == order.Placed || r.State == order.Fulfilled) && !wasPlaced {
		m.placeTime.WithLabelValues(r.Supplier).Observe(max(0, r.At.Sub(r.AcceptedAt)).Seconds())
	}
	if r.Balance != nil {
		m.seen(r.Supplier, r.Account, r.Balance)
	}
}

func (m *Metrics) seen(supplier, account string, balance *order.Money) {
	v, _ := balance.Amount.Float64()
	m.balance.WithLabelValues(supplier, account, balance.Currency).Set(v)
}

// ObserveCall is what supplier.HTTPConfig.Observe wants.
func (m *Metrics) ObserveCall(supplier string) func(op, code string, took time.Duration) {
	return func(op, code string, took time.Duration) {
		m.calls.WithLabelValues(supplier, op, code).Observe(took.Seconds())
	}
}
