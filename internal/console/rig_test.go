package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/reconciler"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
	"github.com/simline/simline/internal/wire"
)

const (
	testToken = "correct horse battery staple"
	testICCID = "8988308650100524999"
	testCode  = "LPA:1$smdp.example$K2-SECRET"
)

// rig is the page on real servers.
type rig struct {
	t    testing.TB
	b    *bus.Bus
	db   *warehouse.DB
	s    *Server
	url  string
	http *http.Client
}

func newRig(t testing.TB, write bool) *rig {
	t.Helper()
	_, b := bustest.Provisioned(t, bustest.Options{})
	db, dsn := warehousetest.OpenDSN(t)
	return serve(t, b, db, Config{Addr: "127.0.0.1:0", Token: testToken, Write: write, ClickHouseDSN: dsn})
}

func serve(t testing.TB, b *bus.Bus, db *warehouse.DB, cfg Config) *rig {
	t.Helper()
	op, err := operator.New(b, wire.ViaConsole)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s, err := New(ctx, cfg, Deps{Bus: b, Operator: op, Warehouse: db, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		op.Close()
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, b: b, db: db, s: s, url: "http://" + s.Addr(), http: &http.Client{Jar: jar, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type answer struct {
	code     int
	body     string
	header   http.Header
	location string
}

func (r *rig) do(req *http.Request) answer {
	r.t.Helper()
	res, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{res.StatusCode, string(b), res.Header, res.Header.Get("Location")}
}

func (r *rig) get(path string) answer {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.do(req)
}

// post sends a form as the browser does, from our own page.
func (r *rig) post(path string, form url.Values) answer {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return r.do(req)
}

func (r *rig) login() {
	r.t.Helper()
	if a := r.post("/login", url.Values{"name": {"mira"}, "token": {testToken}, "next": {"/"}}); a.code != http.StatusSeeOther || a.location != "/" {
		r.t.Fatalf("login: %d %s", a.code, a.body)
	}
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// csrf is the token of this session's forms.
func (r *rig) csrf() string {
	r.t.Helper()
	m := csrfField.FindStringSubmatch(r.get("/").body)
	if m == nil {
		r.t.Fatal("no form carries a token")
	}
	return m[1]
}

func (r *rig) audits() []string {
	r.t.Helper()
	msgs, _, err := r.b.Range(context.Background(), bus.StreamAudit, bus.SubjectAudit("*"), 1, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, m := range msgs {
		var a wire.Audit
		if _, err := wire.DecodeData(m.Data, &a); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, strings.Join([]string{a.Action, a.Target, a.Actor, a.Reason, a.Via}, " | "))
	}
	return out
}

// story is an order's life, in the ledger and, as archiver would have put it, in
// ClickHouse.
func (r *rig) story(records ...order.Record) {
	r.t.Helper()
	l, err := ledger.New(r.b, "orderer")
	if err != nil {
		r.t.Fatal(err)
	}
	defer l.Close()
	e := &ledger.Entry{}
	var rows []warehouse.OrderEvent
	epoch := r.epoch(bus.StreamOrderEvents)
	for _, rec := range records {
		if e, err = l.Append(context.Background(), e, rec); err != nil {
			r.t.Fatal(err)
		}
		row := warehouse.OrderEvent{EventKey: warehouse.EventKey{Epoch: epoch, Sequence: e.Seq, PublishedAt: rec.At, ArchivedAt: time.Now(), Raw: "{}"}, OrderID: rec.OrderID,
			Supplier: rec.Supplier, Product: rec.Product, Account: rec.Account, State: string(rec.State), Certainty: string(rec.Certainty), Evidence: string(rec.Evidence),
			SupplierOrderID: rec.SupplierOrderID, Quantity: 1, Waiting: rec.WaitingFor, Attempt: uint32(rec.Attempt), At: rec.At, AcceptedAt: rec.AcceptedAt}
		if rec.Request.ICCID != "" {
			row.ICCIDs = []string{rec.Request.ICCID}
		}
		if rec.Error != nil {
			row.ErrorKind, row.ErrorCode, row.ErrorMessage = rec.Error.Kind, rec.Error.Code, rec.Error.Message
		}
		if rec.Total != nil {
			row.Total = warehouse.Amount{Micros: rec.Total.Amount.Shift(6).IntPart(), Currency: rec.Total.Currency}
		}
		rows = append(rows, row)
	}
	if err := insert(context.Background(), r.db, warehouse.OrderEvents, uuid.NewString(), rows); err != nil {
		r.t.Fatal(err)
	}
	last := records[len(records)-1]
	if !last.State.Settled() {
		if err := l.Guard(context.Background(), ledger.Open{OrderID: last.OrderID, Supplier: last.Supplier, Account: last.Account, State: last.State, WaitingFor: last.WaitingFor, Due: time.Now().Add(time.Hour)}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// insert is what archiver does with a batch.
func insert[R any](ctx context.Context, db *warehouse.DB, table warehouse.EventTable[R], token string, rows []R) error {
	in := warehouse.NewEventInserter(db, table)
	b := in.Block(len(rows), 0)
	b.Add(rows...)
	return in.Insert(ctx, token, b)
}

func (r *rig) epoch(stream string) time.Time {
	r.t.Helper()
	s, err := r.b.JS.Stream(context.Background(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.CachedInfo().Created.UTC().Truncate(time.Millisecond)
}

func usd(s string) *order.Money {
	return &order.Money{Amount: decimal.RequireFromString(s), Currency: "USD"}
}

// life is the records of an order that goes through states, a few seconds apart.
func life(id, supplier string, begin time.Time, states ...order.State) []order.Record {
	r := order.Record{OrderID: id, Supplier: supplier, Product: order.ProductESIM, Account: "default", AcceptedAt: begin, RequestHash: "h",
		Request: order.Request{OrderID: id, Supplier: supplier, Product: order.ProductESIM, Account: "default", PackageCode: "merhaba-7days-1gb", PackageName: "Turkey 1 GB", MaxTotal: usd("5.00")}}
	if supplier == order.EIOTCLUB {
		r.Product, r.Request = order.ProductPackage, order.Request{OrderID: id, Supplier: supplier, Product: order.ProductPackage, Account: "default", ICCID: testICCID, PackageCode: "CN-5M-7D-C-US-20230103AC4BF927"}
	}
	var out []order.Record
	at := begin
	for _, s := range states {
		r.State, r.At, r.Certainty, r.Evidence, r.Error, r.Reason, r.WaitingFor = s, at, order.CertainUnknown, order.EvidenceNone, nil, "", ""
		switch s {
		case order.Intent:
			sent := at.Add(3 * time.Millisecond)
			r.Attempt++
			r.LastSentAt, r.SupplierRequestID = &sent, "9ac55960-2544-42c7-a89a-7cdbd80804c3"
			if r.FirstSentAt == nil {
				r.FirstSentAt = &sent
			}
		case order.Placed, order.Fulfilled:
			r.Certainty, r.Evidence, r.SupplierOrderID, r.Total = order.CertainPlaced, order.EvidenceReply, "order_"+id, usd("2.72")
			if s == order.Fulfilled {
				r.ESIMs = []order.ESIM{{ICCID: testICCID, ActivationCode: testCode, Status: "New"}}
			}
		case order.Waiting:
			r.Certainty, r.WaitingFor, r.Error = order.CertainNotPlaced, "no_funds", &order.Error{Kind: "no_funds", Code: "41052", Message: "balance insufficient"}
		case order.Rejected:
			r.Certainty, r.Evidence, r.Error = order.CertainNotPlaced, order.EvidenceReply, &order.Error{Kind: "refused", Code: "41050", Message: "the package does not fit the card"}
		case order.Unknown:
			r.Error = &order.Error{Kind: "unknown", Code: "(reset)", Message: "EOF"}
			r = r.Logged(order.Look{At: at.Add(time.Second), Where: "order by id", Said: "not_found"})
		case order.Held:
			r.Evidence, r.Error, r.Reason = order.EvidenceDuplicate, &order.Error{Kind: "exists", Code: "DUPLICATE_REQUEST", Message: "Duplicate request ID"}, "the supplier has had this request before, and does not tell what became of it"
		}
		out = append(out, r)
		at = at.Add(2 * time.Second)
	}
	return out
}

// seed gives the page something of everything to show.
func (r *rig) seed() {
	r.t.Helper()
	ctx, now := context.Background(), time.Now().UTC().Truncate(time.Second)
	must := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	suppliers := []string{order.EIOTCLUB, order.ESIMFly}
	for i := range 24 {
		r.story(life(fmt.Sprintf("63000019831114%04d", i), suppliers[i%2], now.Add(-time.Duration(i)*7*time.Minute), order.Intent, order.Placed, order.Fulfilled)...)
	}
	r.story(life("waits-for-money", order.EIOTCLUB, now.Add(-40*time.Minute), order.Intent, order.Waiting)...)
	r.story(life("refused-1", order.EIOTCLUB, now.Add(-35*time.Minute), order.Intent, order.Rejected)...)
	r.story(life("being-looked-up", order.ESIMFly, now.Add(-5*time.Minute), order.Intent, order.Unknown)...)
	r.story(life("held-1", order.ESIMFly, now.Add(-25*time.Minute), order.Intent, order.Unknown, order.Intent, order.Unknown, order.Held)...)
	r.story(life("held-2", order.EIOTCLUB, now.Add(-15*time.Minute), order.Intent, order.Unknown, order.Held)...)

	must(insert(ctx, r.db, warehouse.Webhooks, "w", []warehouse.Webhook{{EventKey: warehouse.EventKey{Epoch: r.epoch(bus.StreamWebhooks), Sequence: 1, PublishedAt: now, ArchivedAt: now, Raw: "{}"},
		MessageID: "eiotclub:default:n-1", Supplier: "eiotclub", Account: "default", Event: "SubPkgList", NotificationID: "n-1", ReceivedAt: now.Add(-24 * time.Minute), SentAt: now.Add(-24 * time.Minute), Orders: []string{"held-1"}}}))
	must(insert(ctx, r.db, warehouse.Audits, "a", []warehouse.Audit{{EventKey: warehouse.EventKey{Epoch: r.epoch(bus.StreamAudit), Sequence: 1, PublishedAt: now, ArchivedAt: now, Raw: "{}"},
		Action: wire.ActOrderReveal, Target: "held-1", Actor: "ben", Reason: "comparing with the supplier's list", Via: wire.ViaSimctl, At: now.Add(-20 * time.Minute)}}))

	request := func(id, more string) []byte {
		return []byte(`{"order_id":"` + id + `","supplier":"eiotclub","product":"package","iccid":"` + testICCID + `","package_code":"CN-5M-7D"` + more + `}`)
	}
	for i := range 9 {
		must(r.b.DeadBytes(ctx, bus.DeadLetter{Stream: bus.StreamOrders, Subject: bus.SubjectRequest("eiotclub", "package"), Data: request(fmt.Sprint("dead-", i), `,"account":"second"`),
			Reason: wire.ReasonUnknownAccount, Cause: fmt.Errorf("supplier eiotclub has no account second in our configuration"), Attempts: "1"}))
	}
	must(r.b.DeadBytes(ctx, bus.DeadLetter{Stream: bus.StreamOrders, Subject: bus.SubjectRequest("eiotclub", "package"), Data: request("dead-typo", `,"quantity":2`), Reason: wire.ReasonSchema,
		Cause: fmt.Errorf("price, quantity, duration_days and flag_url belong to esimfly only; card %s", testICCID), Attempts: "1"}))
	must(r.b.DeadBytes(ctx, bus.DeadLetter{Stream: bus.StreamWebhooks, Subject: bus.SubjectWebhook("eiotclub", "default", "FlowAlert"), Data: []byte(`{"iccid":"` + testICCID + `"}`), Reason: wire.ReasonStale, Cause: fmt.Errorf("its timestamp is 74h old"), Attempts: "1"}))

	kv, err := r.b.JS.KeyValue(ctx, bus.BucketFindings)
	must(err)
	for i, f := range []wire.Finding{
		{Kind: reconciler.KindMissingHere, Severity: "critical", Status: "open", OrderID: "nobody-asked-for-this", Supplier: "eiotclub", Account: "default", SupplierOrderID: "10004728", ICCID: testICCID, Amount: usd("0.50"),
			Theirs: json.RawMessage(`{"order_id":"nobody-asked-for-this","iccid":"` + testICCID + `","price":{"amount":"0.50","currency":"USD"}}`), FirstSeen: now.Add(-3 * time.Hour), LastSeen: now, Evidence: "packageOrderRecord of the day", SuggestedAction: "find out who else buys with this account's key"},
		{Kind: reconciler.KindUsageMissing, Severity: "warning", Status: "open", Supplier: "eiotclub", Account: "default", Window: "2026-11-25T00:00:00Z/2026-11-26T00:00:00Z", ICCID: testICCID,
			Ours: json.RawMessage(`{"bytes":10485760}`), Theirs: json.RawMessage(`{"bytes":12582912}`), FirstSeen: now.Add(-30 * time.Hour), LastSeen: now, Evidence: "their count of the day", SuggestedAction: "read the named files again"},
		{Kind: reconciler.KindStuck, Severity: "warning", Status: "accepted", OrderID: "held-1", Supplier: "esimfly", Account: "default", FirstSeen: now.Add(-15 * time.Minute), LastSeen: now, Evidence: "held for 24 minutes"},
	} {
		f.FindingID = reconciler.FindingID(f.Kind, fmt.Sprint(i))
		data, err := json.Marshal(reconciler.Entry{Finding: f, Job: reconciler.JobRecords})
		must(err)
		_, err = kv.Put(ctx, reconciler.JobRecords+"."+f.FindingID, data)
		must(err)
	}
	r.usage(now)
}

// usage is four days of CDR files with a late one, a missing one and bad rows.
func (r *rig) usage(now time.Time) {
	r.t.Helper()
	ctx := context.Background()
	begin := now.Truncate(24*time.Hour).AddDate(0, 0, -4)
	for i, start := 0, begin; start.Add(2 * time.Hour).Before(now); i, start = i+1, start.Add(30*time.Minute) {
		end := start.Add(30 * time.Minute)
		f := warehouse.File{Account: "default", File: fmt.Sprintf("cdr_10001_%d.csv", i), SHA256: fmt.Sprint(i), State: warehouse.FileLoaded, WindowStart: start.Add(-30 * time.Minute), WindowEnd: end,
			GeneratedAt: end.Add(30 * time.Minute), FirstLoaded: end.Add(40 * time.Minute), LoadedAt: end.Add(40 * time.Minute), UpdatedAt: now, Rows: 100}
		switch {
		case i%37 == 20 || i%37 == 21:
			continue // both windows that would cover it: missing
		case i%29 == 7:
			f.FirstLoaded = end.Add(5 * time.Hour)
		case i%41 == 11:
			f.State, f.Rejects = warehouse.FileWithRejects, 3
		}
		if err := r.db.PutFile(ctx, f); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.db.Conn().Exec(ctx, fmt.Sprintf(`INSERT INTO simline.cdr (id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, account, file, row_hash)
		SELECT number, toDateTime(%d, 'UTC') + number * 60, toDateTime(%d, 'UTC') + number * 60 + 30, '%s', '', toUInt64(4000000 + 3900000 * sin(number / 229.)), '', '46001', 'default', 'f', number FROM numbers(%d)`,
		begin.Unix(), begin.Unix(), testICCID, int(now.Sub(begin).Minutes()))); err != nil {
		r.t.Fatal(err)
	}
}
