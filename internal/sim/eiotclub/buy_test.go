package eiotclub_test

import (
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/fault"
)

func TestSignVector(t *testing.T) {
	got := eiotclub.Sign(map[string]string{"appkey": "000001", "timestamp": "1556595508", "nonce": "24523",
		"userName": "wx", "age": "24", "sex": "1", "sign": "ignored", "empty": ""}, "a1b1c1d1")
	if want := "963A56BAEBED746F2746E4D9B3B77BE0F2E171E7"; got != want {
		t.Errorf("Sign = %s, want the document's %s", got, want)
	}
}

func TestAuthentication(t *testing.T) {
	r := newRig(t, eiotclub.Config{})
	now := r.clock.Now().Unix()
	for name, tc := range map[string]struct {
		change obj
		code   string
	}{
		"good":               {obj{}, `"200"`},
		"appkey missing":     {obj{"appkey": ""}, `"42101"`},
		"appkey unknown":     {obj{"appkey": "000002"}, `"42102"`},
		"timestamp missing":  {obj{"timestamp": ""}, `"42201"`},
		"timestamp in ms":    {obj{"timestamp": now * 1000}, `"42204"`},
		"timestamp as text":  {obj{"timestamp": "yesterday!"}, `"42204"`},
		"clock 301 s behind": {obj{"timestamp": now - 301}, `"42203"`},
		"clock 301 s ahead":  {obj{"timestamp": now + 301}, `"42203"`},
		"clock 299 s behind": {obj{"timestamp": now - 299}, `"200"`},
		"nonce missing":      {obj{"nonce": ""}, `"42301"`},
		"nonce too short":    {obj{"nonce": 999}, `"43332"`},
		"sign missing":       {obj{"sign": ""}, `"42401"`},
		"sign wrong":         {obj{"sign": strings.Repeat("0", 40)}, `"42402"`},
		"empty left out":     {obj{"memo": ""}, `"200"`},
	} {
		t.Run(name, func(t *testing.T) {
			if a := r.call("/agent/balance", tc.change); a.code() != tc.code {
				t.Errorf("code %s (%s), want %s", a.Code, a.Message, tc.code)
			}
		})
	}
	t.Run("changed after signing", func(t *testing.T) {
		body := strings.Replace(string(r.signed(obj{"iccid": eiotclub.SeedICCID})), "24999", "24998", 1)
		r.want(`"42402"`, r.raw("/card/getCardsInfo", []byte(body)))
	})
	t.Run("numbers signed as their literal", func(t *testing.T) {
		big := json.Number("12345678901234567890123")
		r.want(`"200"`, r.call("/agent/balance", obj{"x": big}))
	})
	t.Run("no JSON", func(t *testing.T) { r.want(`"43332"`, r.raw("/agent/balance", []byte("appkey=1"))) })
}

func TestPurchases(t *testing.T) {
	goods := []eiotclub.Goods{{Code: "G", Price: 140, Stock: 1, Package: eiotclub.Package{Code: "P", MB: 1, Days: 1, Type: 2}},
		{Code: "RICH", Price: 1_000_000_000, Stock: -1}}
	r := newRig(t, eiotclub.Config{StrictCards: true, Opening: 10_000, Goods: goods})
	pkg := func(change obj) obj {
		p := obj{"iccid": eiotclub.SeedICCID, "packageCode": eiotclub.PackageCode, "outTradeNo": "630000198311142676"}
		for k, v := range change {
			p[k] = v
		}
		return p
	}
	for _, tc := range []struct {
		name, path string
		p          obj
		code       string
	}{
		{"no outTradeNo", "/package/orderPackage", pkg(obj{"outTradeNo": ""}), `"42001"`},
		{"33 characters", "/package/orderPackage", pkg(obj{"outTradeNo": strings.Repeat("a", 33)}), `"42001"`},
		{"bad ICCID", "/package/orderPackage", pkg(obj{"iccid": "12ab"}), `"41003"`},
		{"foreign ICCID", "/package/orderPackage", pkg(obj{"iccid": "8988308650100524888"}), `"42405"`},
		{"unknown package", "/package/orderPackage", pkg(obj{"packageCode": "X"}), `"41018"`},
		{"another product's package", "/package/orderPackage", pkg(obj{"packageCode": eiotclub.OtherPackageCode}), `"41050"`},
		{"too dear", "/package/orderPackage", pkg(obj{"packageCode": "GJ-LLB-360M-360-2ROP-11111111407170352"}), `"45112"`},
		{"a refusal leaves the outTradeNo free", "/package/orderPackage", pkg(nil), `"200"`},
		{"the same again", "/package/orderPackage", pkg(nil), `"42002"`},
		{"the same for another product", "/esim/purchase", obj{"eSIMGoodsCode": "G", "outTradeNo": "630000198311142676"}, `503016`},
		{"32 characters", "/package/orderPackage", pkg(obj{"outTradeNo": strings.Repeat("a", 32)}), `"200"`},
		{"no such goods", "/esim/purchase", obj{"eSIMGoodsCode": "X", "outTradeNo": "e1"}, `45109`},
		{"goods too dear", "/esim/purchase", obj{"eSIMGoodsCode": "RICH", "outTradeNo": "e1"}, `45112`},
		{"the last eSIM", "/esim/purchase", obj{"eSIMGoodsCode": "G", "outTradeNo": "e1"}, `200`},
		{"none left", "/esim/purchase", obj{"eSIMGoodsCode": "G", "outTradeNo": "e2"}, `45110`},
		{"the eSIM again", "/esim/purchase", obj{"eSIMGoodsCode": "G", "outTradeNo": "e1"}, `503016`},
		{"cloud eSIM unknown", "/cloudesim/purchase", obj{"eid": "35060000000000000024000032688149", "packageCode": eiotclub.CloudPackageCode, "outTradeNo": "c1"}, `"900911"`},
		{"cloud package unknown", "/cloudesim/purchase", obj{"eid": eiotclub.SeedEID, "packageCode": "X", "outTradeNo": "c1"}, `"42007"`},
		{"cloud", "/cloudesim/purchase", obj{"eid": eiotclub.SeedEID, "packageCode": eiotclub.CloudPackageCode, "outTradeNo": "c1"}, `"200"`},
		{"cloud again", "/cloudesim/purchase", obj{"eid": eiotclub.SeedEID, "packageCode": eiotclub.CloudPackageCode, "outTradeNo": "c1"}, `"42002"`},
		{"no such pool", "/pool/sub", obj{"pool_object_id": 1, "pool_type_code": eiotclub.PoolTypeCode, "out_trade_no": "p1"}, `"42404"`},
		{"no such pool type", "/pool/sub", obj{"pool_object_id": eiotclub.SeedPoolID, "pool_type_code": "X", "out_trade_no": "p1"}, `"42007"`},
		{"pool", "/pool/sub", obj{"pool_object_id": eiotclub.SeedPoolID, "pool_type_code": eiotclub.PoolTypeCode, "out_trade_no": "p1"}, `"200"`},
		{"pool again", "/pool/sub", obj{"pool_object_id": eiotclub.SeedPoolID, "pool_type_code": eiotclub.PoolTypeCode, "out_trade_no": "p1"}, `"42002"`},
	} {
		if a := r.call(tc.path, tc.p); a.code() != tc.code {
			t.Errorf("%s: code %s (%s), want %s", tc.name, a.Code, a.Message, tc.code)
		}
	}
	if got, want := r.Balance().String(), "74.60"; got != want { // 100 - 2 × 0.50 - 1.40 - 3 - 20
		t.Errorf("balance %s, want %s", got, want)
	}
	checkBooks(t, r.Sim)
}

// checkBooks is the balance equation, and: each outTradeNo was bought once and charged once.
func checkBooks(t *testing.T, s *eiotclub.Sim) {
	t.Helper()
	book := s.Book()
	checkLedger(t, book)
	charged := map[string]int{}
	for _, e := range book.Ledger {
		if e.Kind == "purchase" {
			charged[e.Order]++
		}
	}
	for out, n := range book.Purchases {
		if n != 1 || charged[out] != 1 {
			t.Errorf("%s: %d purchases, %d charged, want one of each", out, n, charged[out])
		}
	}
}

// checkLedger is the balance equation: the opening and every movement make the balance, line for line.
func checkLedger(t *testing.T, book eiotclub.Book) {
	t.Helper()
	var sum int64
	for i, e := range book.Ledger {
		if sum += e.Amount; e.Balance != sum {
			t.Fatalf("line %d of the ledger says %d, the lines so far %d", i, e.Balance, sum)
		}
	}
	if sum != book.Balance.Minor {
		t.Errorf("balance %s, the ledger's lines make %d", book.Balance, sum)
	}
}

func TestOneOfManyEqualPurchasesBuys(t *testing.T) {
	r := newRig(t, eiotclub.Config{})
	body := r.signed(obj{"iccid": eiotclub.SeedICCID, "packageCode": eiotclub.PackageCode, "outTradeNo": "same"})
	var mu sync.Mutex
	codes := map[string]int{}
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			resp, err := r.post("/api/v3/package/orderPackage", body)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			var a answer
			if err := json.Unmarshal(b, &a); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			codes[a.code()]++
		})
	}
	wg.Wait()
	if codes[`"200"`] != 1 || codes[`"42002"`] != 63 || r.Purchases("same") != 1 {
		t.Errorf("codes %v, %d purchases; want one success, 63 refusals, one purchase", codes, r.Purchases("same"))
	}
	if o, _ := r.Order("same"); o.Calls != 64 {
		t.Errorf("the book counts %d calls, want 64", o.Calls)
	}
	checkBooks(t, r.Sim)
}

func TestESimIsProcessedBeforeItIsThere(t *testing.T) {
	r := newRig(t, eiotclub.Config{ESimProcessing: time.Minute, ESimSuccess: -1})
	var d struct{ OrderID, ICCID, ActivationCode string }
	r.want(`-1`, r.call("/esim/purchase", obj{"eSIMGoodsCode": eiotclub.GoodsCode, "outTradeNo": "e1"})).into(t, &d)
	if d.OrderID == "" || d.ICCID != "" || d.ActivationCode != "" {
		t.Errorf("while processing: %+v", d)
	}
	var st struct {
		Status                int
		ICCID, ActivationCode string
	}
	r.want(`"200"`, r.call("/esim/orderStatus", obj{"orderId": d.OrderID})).into(t, &st)
	if st.Status != 1 || st.ICCID != "" {
		t.Errorf("while processing: %+v", st)
	}
	r.clock.Add(time.Minute)
	r.call("/esim/orderStatus", obj{"orderId": d.OrderID}).into(t, &st)
	if st.Status != 2 || len(st.ICCID) != 19 || st.ActivationCode == "" {
		t.Errorf("after a minute: %+v", st)
	}
	r.want(`"45111"`, r.call("/esim/orderStatus", obj{"orderId": "1"}))
}

func TestFaultsInPurchases(t *testing.T) {
	for _, tc := range []struct {
		name   string
		rule   fault.Rule
		code   string // of an answer in the supplier's form; "" for none
		placed int
	}{
		{"reset before commit", fault.Rule{Kind: fault.Reset}, "", 0},
		{"reply lost after commit", fault.Rule{Kind: fault.LostReply}, "", 1},
		{"half of the body", fault.Rule{Kind: fault.HalfBody}, "", 1},
		{"502 page before", fault.Rule{Kind: fault.HTMLBefore}, "", 0},
		{"page after", fault.Rule{Kind: fault.HTMLAfter}, "", 1},
		{"504 after", fault.Rule{Kind: fault.StatusAfter, Status: 504}, "", 1},
		{"500 code after commit", fault.Rule{Kind: fault.CodeAfter, Code: "500"}, `"500"`, 1},
		{"43331 before", fault.Rule{Kind: fault.CodeBefore, Code: "43331"}, `"43331"`, 0},
		{"a code that is no number", fault.Rule{Kind: fault.CodeBefore, Code: "E-1", Message: "?"}, `"E-1"`, 0},
		{"501", fault.Rule{Kind: fault.TooManyRequests}, `"501"`, 0},
		{"no funds", fault.Rule{Kind: fault.NoFunds}, `"45112"`, 0},
		{"out of stock", fault.Rule{Kind: fault.OutOfStock}, `"45110"`, 0},
		{"by package code", fault.Rule{Kind: fault.NoFunds, Order: eiotclub.PackageCode}, `"45112"`, 0},
		{"another order", fault.Rule{Kind: fault.NoFunds, Order: "other"}, `"200"`, 1},
		{"another endpoint", fault.Rule{Kind: fault.NoFunds, Path: "esim/purchase"}, `"200"`, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, eiotclub.Config{})
			r.Faults().MustAdd(tc.rule)
			resp, err := r.post("/api/v3/package/orderPackage", r.signed(obj{"iccid": eiotclub.SeedICCID, "packageCode": eiotclub.PackageCode, "outTradeNo": "a"}))
			var a answer
			if err == nil {
				var b []byte
				b, err = io.ReadAll(resp.Body)
				resp.Body.Close()
				if err == nil {
					err = json.Unmarshal(b, &a)
				}
			}
			if (err == nil) != (tc.code != "") || a.code() != tc.code {
				t.Errorf("code %s, error %v; want %s", a.Code, err, tc.code)
			}
			if r.Purchases("a") != tc.placed {
				t.Errorf("%d placed, want %d", r.Purchases("a"), tc.placed)
			}
			checkBooks(t, r.Sim)
		})
	}
}

func TestDuplicatesAsFaultsSay(t *testing.T) {
	r := newRig(t, eiotclub.Config{RefusalBurnsID: true})
	buy := func() answer {
		return r.call("/esim/purchase", obj{"eSIMGoodsCode": eiotclub.GoodsCode, "outTradeNo": "e"})
	}
	first := buy()
	if a := r.want(`503016`, buy()); string(a.Data) != "null" {
		t.Errorf("a refusal carries %s, want nothing", a.Data)
	}
	r.Faults().MustAdd(fault.Rule{Kind: fault.DuplicateWithData, Times: 1})
	if a := r.want(`503016`, buy()); string(a.Data) != string(first.Data) {
		t.Errorf("with data: %s, want %s", a.Data, first.Data)
	}
	r.Faults().MustAdd(fault.Rule{Kind: fault.DuplicateReplay, Order: "e", Times: 1})
	if a := r.want(`200`, buy()); string(a.Data) != string(first.Data) {
		t.Errorf("replay: %s, want %s", a.Data, first.Data)
	}
	p := obj{"iccid": eiotclub.SeedICCID, "packageCode": "nope", "outTradeNo": "burnt"}
	r.want(`"41018"`, r.call("/package/orderPackage", p))
	p["packageCode"] = eiotclub.PackageCode
	r.want(`"42002"`, r.call("/package/orderPackage", p)) // with RefusalBurnsID
	checkBooks(t, r.Sim)
}
