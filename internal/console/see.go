package console

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/reconciler"
	"github.com/simline/simline/internal/warehouse"
)

// notice is something that a person should look at.
type notice struct {
	Tone, Text, Href string
}

// countsFor is how far back orders are counted, and countsFresh how long a count
// stands.
const (
	countsFor   = 7 * 24 * time.Hour
	countsFresh = 5 * time.Second
)

// overview is the first page: the five lines, orders by state, what waits for a
// person. What cannot be had is said, and the rest is shown.
func (s *Server) overview(w http.ResponseWriter, r *http.Request, _ session) {
	ctx := r.Context()
	var notices []notice
	bad := func(what string, err error) {
		notices = append(notices, notice{Tone: "bad", Text: what + " cannot be read: " + operator.MaskText(err.Error())})
	}
	last, err, sampled := s.lines.latest()
	if err != nil {
		bad("NATS", err)
	}
	counts, at, err := s.counts.get(s.now(), countsFresh, func() ([]warehouse.StateCount, error) { return s.db.OrderCounts(ctx, s.now().Add(-countsFor)) })
	if err != nil {
		bad("ClickHouse", err)
	}
	by := map[string]uint64{}
	var total uint64
	for _, c := range counts {
		by[c.State] = c.Orders
		total += c.Orders
	}
	type state struct {
		Name   string
		Orders uint64
		Share  float64 // of all, 0 to 100
	}
	var states []state
	for _, st := range order.States {
		n := by[string(st)]
		share := 0.0
		if total > 0 {
			share = float64(n) / float64(total) * 100
		}
		states = append(states, state{string(st), n, share})
	}
	if n := by[string(order.Held)]; n > 0 {
		notices = append(notices, notice{"bad", several(n, "order waits", "orders wait") + " for a person", "/held"})
	}
	if n := by[string(order.Unknown)]; n > 0 {
		notices = append(notices, notice{"warn", several(n, "order", "orders") + " of unknown outcome to be looked up", "/orders?state=unknown"})
	}
	if sampled && last.messages[bus.StreamDead] > 0 {
		notices = append(notices, notice{"warn", several(last.messages[bus.StreamDead], "dead letter", "dead letters"), "/dead"})
	}
	if list, err := s.standing(ctx); err != nil {
		bad("findings", err)
	} else {
		n := map[string]int{}
		for _, e := range list {
			if e.Finding.Status == "open" {
				n[e.Finding.Severity]++
			}
		}
		for _, severity := range []string{"critical", "warning"} {
			if n[severity] > 0 {
				notices = append(notices, notice{tone(severity), several(uint64(n[severity]), "open finding", "open findings") + ", " + severity, "/findings?severity=" + severity})
			}
		}
	}
	if list, err := s.op.Switches(ctx); err != nil {
		bad("switches", err)
	} else {
		for _, sw := range list {
			if sw.On {
				notices = append(notices, notice{"bad", words(sw.Name) + " is on, by " + sw.By + ": " + sw.Reason, "/switches"})
			}
		}
	}
	fresh, _, err := s.fresh.get(s.now(), countsFresh, func() ([]warehouse.Freshness, error) { return s.db.Freshness(ctx) })
	if err != nil {
		bad("coverage", err)
	}
	for _, f := range fresh {
		if f.Late > 0 {
			notices = append(notices, notice{"warn", "account " + f.Account + ": usage of " + several(f.Late, "half hour", "half hours") + " is missing", "/coverage"})
		}
	}
	s.render(w, r, http.StatusOK, "overview", map[string]any{"Lines": s.lines.lines(), "States": states, "Total": total, "CountedAt": at, "Notices": notices, "Fresh": fresh, "Sampled": sampled})
}

// standing are the findings that stand, read once for all who look.
func (s *Server) standing(ctx context.Context) ([]reconciler.Entry, error) {
	list, _, err := s.found.get(s.now(), countsFresh, func() ([]reconciler.Entry, error) { return s.book.List(ctx, "") })
	return list, err
}

// listed is how many rows a list shows.
const listed = 50

// orders lists and searches: q is an order id, a card or the supplier's id.
func (s *Server) orders(w http.ResponseWriter, r *http.Request, _ session) {
	ctx, q := r.Context(), r.URL.Query()
	text := strings.TrimSpace(q.Get("q"))
	f := warehouse.OrderFilter{State: q.Get("state"), Supplier: q.Get("supplier"), Account: q.Get("account")}
	var rows []warehouse.OrderRow
	var err error
	begin := time.Now()
	if text != "" {
		// The ledger knows an order a moment before ClickHouse does.
		if order.ValidID(text) {
			if _, err := s.op.Order(ctx, text); err == nil {
				http.Redirect(w, r, "/orders/"+text, http.StatusSeeOther)
				return
			} else if !errors.Is(err, operator.ErrNotFound) {
				s.fail(w, r, err)
				return
			}
		}
		rows, err = s.db.FindOrders(ctx, text, listed)
	} else {
		var before time.Time
		if us, perr := strconv.ParseInt(q.Get("before"), 10, 64); perr == nil {
			before = time.UnixMicro(us)
		}
		rows, err = s.db.RecentOrders(ctx, f, before, listed)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if text != "" && len(rows) == 1 {
		http.Redirect(w, r, "/orders/"+rows[0].OrderID, http.StatusSeeOther)
		return
	}
	next := int64(0)
	if text == "" && len(rows) > 0 {
		next = rows[len(rows)-1].UpdatedAt.UnixMicro()
	}
	if len(rows) < listed/2 {
		next = 0
	}
	s.render(w, r, http.StatusOK, "orders", map[string]any{"Rows": rows, "Q": text, "Filter": f, "States": order.States, "Suppliers": order.Suppliers, "Next": next, "Took": time.Since(begin)})
}

// held lists the orders that a person must decide, from the index of open ones.
func (s *Server) held(w http.ResponseWriter, r *http.Request, _ session) {
	var list []ledger.Open
	for o, err := range s.op.Open(r.Context()) {
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if o.State == order.Held {
			list = append(list, o)
		}
	}
	type row struct {
		ledger.Entry
		Masked operator.Event
	}
	var rows []row
	for _, o := range list[:min(listed, len(list))] {
		e, err := s.op.Order(r.Context(), o.OrderID)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if e.State == order.Held { // the index may be a moment older
			rows = append(rows, row{e, operator.Masked([]operator.Event{{Record: e.Record}})[0]})
		}
	}
	s.render(w, r, http.StatusOK, "held", map[string]any{"Rows": rows, "Total": len(list)})
}

func (s *Server) coverage(w http.ResponseWriter, r *http.Request, _ session) {
	days := choice(r, "days", 7, 2, 14, 31)
	slots, err := s.db.Coverage(r.Context(), s.now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-days))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	fresh, err := s.db.Freshness(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	type account struct {
		warehouse.Freshness
		Map    template.HTML
		Counts map[string]int
		Odd    []warehouse.Slot
	}
	var accounts []account
	for _, f := range fresh {
		a := account{Freshness: f, Counts: map[string]int{}}
		var own []warehouse.Slot
		for _, x := range slots {
			if x.Account == f.Account {
				own = append(own, x)
				a.Counts[x.Status]++
				if x.Status == "missing" || x.WithRejects {
					a.Odd = append(a.Odd, x)
				}
			}
		}
		slices.Reverse(a.Odd)
		a.Odd = a.Odd[:min(len(a.Odd), 100)]
		a.Map = heat(own)
		accounts = append(accounts, a)
	}
	s.render(w, r, http.StatusOK, "coverage", map[string]any{"Accounts": accounts, "Days": days, "Statuses": []string{"on_time", "late", "only_overlapped", "missing", "due"}})
}

// choice reads a number from the query that must be one of those offered.
func choice(r *http.Request, name string, def int, others ...int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || !slices.Contains(others, n) {
		return def
	}
	return n
}

func (s *Server) findings(w http.ResponseWriter, r *http.Request, _ session) {
	list, err := s.book.List(r.Context(), "")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	q := r.URL.Query()
	kinds := map[string]bool{}
	type row struct {
		reconciler.Entry
		Meaning, Masked string
	}
	var rows []row
	for _, e := range list {
		kinds[e.Finding.Kind] = true
		for name, have := range map[string]string{"kind": e.Finding.Kind, "severity": e.Finding.Severity, "status": e.Finding.Status, "account": e.Finding.Account} {
			if want := q.Get(name); want != "" && want != have {
				e.Job = ""
			}
		}
		if e.Job == "" {
			continue
		}
		k, _ := reconciler.KindOf(e.Finding.Kind)
		e.Finding.Ours, e.Finding.Theirs = operator.MaskJSON(e.Finding.Ours), operator.MaskJSON(e.Finding.Theirs)
		rows = append(rows, row{e, k.Meaning, operator.MaskText(e.Finding.ICCID + e.Finding.EID)})
	}
	total := len(rows)
	rows = rows[:min(200, total)]
	var names []string
	for k := range kinds {
		names = append(names, k)
	}
	slices.Sort(names)
	s.render(w, r, http.StatusOK, "findings", map[string]any{"Rows": rows, "Total": total, "Kinds": names, "Kind": q.Get("kind"), "Severity": q.Get("severity"), "Status": q.Get("status")})
}

func (s *Server) usage(w http.ResponseWriter, r *http.Request, _ session) {
	days := choice(r, "days", 2, 7, 30, 90)
	read, step, label := s.db.UsageHours, time.Hour, "01-02 15:04"
	since := s.now().UTC().Truncate(time.Hour).Add(-time.Duration(days) * 24 * time.Hour)
	if days > 7 {
		read, step, label, since = s.db.UsageDays, 24*time.Hour, "01-02", s.now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -days)
	}
	used, err := read(r.Context(), since)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	type account struct {
		Name           string
		Bytes, Records uint64
		Chart          template.HTML
		Rows           []warehouse.Used
	}
	var accounts []account
	for _, u := range used {
		if len(accounts) == 0 || accounts[len(accounts)-1].Name != u.Account {
			accounts = append(accounts, account{Name: u.Account})
		}
		a := &accounts[len(accounts)-1]
		a.Bytes, a.Records, a.Rows = a.Bytes+u.Bytes, a.Records+u.Records, append(a.Rows, u)
	}
	for i := range accounts {
		a := &accounts[i]
		at := map[int64]uint64{}
		for _, u := range a.Rows {
			at[u.At.Unix()] = u.Bytes
		}
		var list []bar
		for t := since; !t.After(s.now()); t = t.Add(step) { // an hour without usage is an empty one
			list = append(list, bar{t, at[t.Unix()]})
		}
		a.Chart = bars(list, func(t time.Time) string { return t.UTC().Format(label) }, bytesText)
		slices.Reverse(a.Rows)
	}
	s.render(w, r, http.StatusOK, "usage", map[string]any{"Accounts": accounts, "Days": days})
}

func (s *Server) switches(w http.ResponseWriter, r *http.Request, _ session) {
	list, err := s.op.Switches(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "switches", map[string]any{"Switches": list})
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request, _ session) {
	target := strings.TrimSpace(r.URL.Query().Get("target"))
	rows, err := s.db.AuditOf(r.Context(), target, 200)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "audit", map[string]any{"Rows": rows, "Target": target})
}
