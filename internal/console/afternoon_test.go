package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/e2e"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
	simesimfly "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// form fills the form that posts to action, of which a page has one, and sends it;
// what comes then must say that it was done.
func (c *chrome) form(page, action string, fields map[string]string) {
	c.t.Helper()
	data, err := json.Marshal(fields)
	if err != nil {
		c.t.Fatal(err)
	}
	c.do(page, chromedp.Navigate(page), chromedp.WaitReady(chromedp.CSS(`footer`)))
	found := ask(c, chromedp.Evaluate[bool](fmt.Sprintf(`(() => {
		const want = %s, action = %q;
		const form = [...document.forms].find(f => f.method === "post" && f.getAttribute("action") === action && (!want.switch || f.elements.switch.value === want.switch));
		if (!form) return false;
		for (const [name, value] of Object.entries(want)) {
			const field = form.elements[name];
			field.value = value; // of radio buttons it checks the one
		}
		setTimeout(() => form.requestSubmit());
		return true })()`, data, action)))
	if !found {
		c.shot("failed-form")
		c.t.Fatalf("%s has no form to %s", page, action)
	}
	c.do(action, visible(`.said`))
	if said := ask(c, chromedp.Text(chromedp.CSS(`.said`))); strings.Contains(said, "not") {
		c.shot("failed-deed")
		c.t.Fatalf("%s: %s", action, said)
	}
}

// until looks at a page again and again until it says want.
func (c *chrome) until(page, want string) {
	c.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		c.do(page, chromedp.Navigate(page), chromedp.WaitReady(chromedp.CSS(`footer`)))
		text := ask(c, chromedp.Text(chromedp.CSS(`main`)))
		if strings.Contains(text, want) {
			return
		}
		if time.Now().After(deadline) {
			c.shot("failed-until")
			c.t.Fatalf("%s never says %q: %.2000s", page, want, text)
		}
	}
}

// The path of a bad afternoon once more, on the page and on the real workers:
// submit → watch → the supplier breaks → see it → pause → resolve what is held →
// replay the dead letters → resume → all books equal.
func TestBadAfternoonOnThePage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all binaries")
	}
	c := newChrome(t)
	stage, err := e2e.NewStage(t.Context(), e2e.StageConfig{Dir: t.TempDir(), Progress: func(what string) { t.Log(what) }, Since: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stage.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := stage.Plant(); err != nil {
		t.Fatal(err)
	}
	esim := func(id string) string {
		return fmt.Sprintf(`{"order_id":%q,"supplier":"eiotclub","product":"esim","goods_code":%q}`, id, simeiotclub.GoodsCode)
	}
	fly := func(id string) string {
		return fmt.Sprintf(`{"order_id":%q,"supplier":"esimfly","product":"esim","package_code":%q,"package_name":%q,"price":{"amount":"2.72","currency":"USD"}}`, id, simesimfly.PackageCode, simesimfly.PackageName)
	}
	for _, l := range []bus.DeadLetter{
		{Reason: wire.ReasonMaxDeliveries, Data: []byte(esim("dead-1")), Cause: errors.New("given up after 20 tries")},
		{Reason: wire.ReasonSchema, Data: []byte(strings.Replace(esim("dead-2"), "goods_code", "good_code", 1)), Cause: errors.New(`unknown field "good_code"`)},
	} {
		l.Stream, l.Subject, l.Attempts = bus.StreamOrders, bus.SubjectRequest("eiotclub", "esim"), "20"
		if err := stage.Bus.DeadBytes(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	dsn := ""
	for _, kv := range stage.Stack.Env() {
		if v, ok := strings.CutPrefix(kv, "CLICKHOUSE_DSN="); ok {
			dsn = v
		}
	}
	db, err := warehouse.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // read only
	r := serve(t, stage.Bus, db, Config{Addr: "127.0.0.1:0", Token: testToken, Write: true, ClickHouseDSN: dsn})
	c.window(1280, 860, "light")
	c.enter(r.url, "/")
	submit := func(body, why string) {
		c.form(r.url+"/orders/new", "/orders", map[string]string{"body": body, "reason": why})
	}

	submit(esim("quiet-1"), "ticket 1")
	c.until(r.url+"/orders/quiet-1", "fulfilled")

	// It buys, and the answer is lost.
	stage.Stack.ESIMFly.Faults().MustAdd(fault.Rule{Kind: fault.LostReply, Path: "POST /api/v1/business/esims/order", Times: 1})
	submit(fly("lost-1"), "ticket 2")
	c.until(r.url+"/held", "lost-1")
	c.until(r.url+"/", "1 order waits for a person")
	c.shot("afternoon-held")

	c.form(r.url+"/switches", "/switches", map[string]string{"switch": "esimfly.pause", "reason": "they lose answers"})
	submit(fly("later-1"), "ticket 3")
	c.until(r.url+"/orders/later-1", "switch")

	ledger, err := stage.Ledger.Records()
	if err != nil {
		t.Fatal(err)
	}
	there, ok := stage.Stack.ESIMFly.Order(ledger["lost-1"].SupplierRequestID)
	if !ok {
		t.Fatal("the supplier has no lost-1")
	}
	c.form(r.url+"/held", "/orders/lost-1/resolve", map[string]string{"as": "placed", "supplier_order_id": there.Reference, "reason": "on their list of today"})

	c.until(r.url+"/dead", "unknown field")
	c.do("preview", chromedp.Navigate(r.url+"/dead/replay?error=max_deliveries"), visible(`form[action="/dead/replay"]`))
	c.shot("afternoon-preview")
	c.form(r.url+"/dead/replay?error=max_deliveries", "/dead/replay", map[string]string{"reason": "orderer is well again"})
	// The body is shown to who asks, and corrected there.
	c.form(r.url+"/dead/2", "/dead/2/reveal", map[string]string{"reason": "to correct it"})
	ask(c, chromedp.Evaluate[bool](fmt.Sprintf(`(() => { const f = document.querySelector('form[action="/dead/2/edit"]'); f.elements.body.value = %q; f.elements.reason.value = "a letter in the goods code"; setTimeout(() => f.requestSubmit()); return true })()`, esim("dead-2"))))
	c.do("edit", visible(`table.rows, .none`))
	c.until(r.url+"/dead", "No dead letter")

	c.form(r.url+"/switches", "/switches", map[string]string{"switch": "esimfly.pause", "reason": "they are back"})
	ids := []string{"quiet-1", "lost-1", "later-1", "dead-1", "dead-2"}
	for _, id := range ids {
		c.until(r.url+"/orders/"+id, "fulfilled")
	}
	c.shot("afternoon-story")
	c.do("lost", chromedp.Navigate(r.url+"/orders/lost-1"), visible(`ol.story`))
	c.shot("afternoon-lost")
	if wrong := c.complaints(); len(wrong) > 0 {
		t.Errorf("the browser complains: %v", wrong)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		books, err := stage.Books(t.Context(), ids)
		if err != nil {
			t.Fatal(err)
		}
		figures := books.Compare(false)
		if !slices.ContainsFunc(figures, func(f e2e.Figure) bool { return !f.OK }) {
			t.Log("\n" + e2e.RenderFigures(figures))
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the books differ:\n%s", e2e.RenderFigures(figures))
		}
		<-time.After(200 * time.Millisecond)
	}
}
