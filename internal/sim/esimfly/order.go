package esimfly

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Package is what can be bought; prices in cents of a US dollar.
type Package struct {
	Code   string `json:"package_code"`
	Name   string `json:"name"`
	Cost   int64  `json:"cost_cents"`
	Profit int64  `json:"profit_cents"` // a share of the price that the answer names
	Days   int    `json:"validity_days"`
	Bytes  int64  `json:"data_bytes"` // 0 = unlimited
	Flag   string `json:"flag"`
}

// Codes of the default catalogue, from the document's examples.
const (
	PackageCode = "merhaba-7days-1gb"
	PackageName = "Turkey 1 GB 7 Days"
)

func defaultPackages() []Package {
	return []Package{
		{PackageCode, PackageName, 272, 20, 7, 1 << 30, "/img/flags/tr.png"},
		{"europe-5gb-30days", "Europe 5GB 30 Days", 1599, 120, 30, 5 << 30, "/img/flags/eu.png"},
		{"esim_UL_1D_TR_V2", "Turkey Unlimited 1 Day", 350, 30, 1, 0, "/img/flags/tr.png"},
		{"PHAJHEAYP", "Japan 3 GB 15 Days", 720, 60, 15, 3 << 30, "/img/flags/jp.png"},
	}
}

// ESim is one eSIM of an order.
type ESim struct {
	ICCID   string `json:"iccid"`
	QRCode  string `json:"qr_code_url"`
	Install string `json:"direct_apple_install_url"`
}

// Order is one row of the book. Amounts are in cents.
type Order struct {
	ID        int64     `json:"esim_id"`
	Reference string    `json:"order_reference"`
	RequestID string    `json:"request_id"` // RT-RequestID that placed it; empty when planted
	Package   Package   `json:"package"`
	Quantity  int       `json:"quantity"`
	Total     int64     `json:"total_cents"`
	Balance   int64     `json:"balance_after_cents"`
	PlacedAt  time.Time `json:"placed_at"`
	ESims     []ESim    `json:"esims"`
	Pending   bool      `json:"pending"` // came as pending_details
	Looks     int       `json:"looks"`
	Completed bool      `json:"completed"`
	Refunded  bool      `json:"refunded,omitempty"`
	Planted   bool      `json:"planted,omitempty"`
	Calls     int       `json:"calls"` // requests with this RequestID, refused repeats included
	pendingID string
	submitted string
}

func (o *Order) status(time.Time) string {
	switch {
	case o.Refunded:
		return "refunded" // I: the document names completed and pending_details only
	case o.Completed:
		return "completed"
	}
	return "pending_details"
}

// Entry is one line of the account's money, in cents.
type Entry struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"` // opening, purchase, refund, top_up, planted
	Amount  int64     `json:"amount_cents"`
	Order   string    `json:"order,omitempty"`
	Balance int64     `json:"balance_cents"` // after it
}

type book struct {
	mu          sync.Mutex
	rng         *rand.Rand
	nextID      int64
	pkgs        map[string]*Package
	pkgList     []*Package
	orders      []*Order
	byRef       map[string]*Order
	byRequest   map[string]*Order
	purchases   map[string]int
	balance     int64
	ledger      []Entry
	used        map[string]*used
	usedQueue   []string
	windowStart time.Time
	windowCalls int
}

func newBook(cfg Config, now time.Time) *book {
	b := &book{rng: rand.New(rand.NewPCG(cfg.Seed, 0xf1e)), nextID: cfg.FirstESimID, pkgs: map[string]*Package{},
		byRef: map[string]*Order{}, byRequest: map[string]*Order{}, purchases: map[string]int{}, used: map[string]*used{}}
	for _, p := range cfg.Packages {
		b.pkgs[p.Code] = &p
		b.pkgList = append(b.pkgList, &p)
	}
	b.enter(Entry{At: now, Kind: "opening", Amount: cfg.Opening})
	return b
}

func (b *book) enter(e Entry) {
	b.balance += e.Amount
	e.Balance = b.balance
	b.ledger = append(b.ledger, e)
}

const refAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

// insert writes an order down and takes its price off the balance. The one place where anything is bought.
func (b *book) insert(o *Order, now time.Time, charge bool) {
	o.ID = b.nextID
	b.nextID += int64(o.Quantity)
	for o.Reference == "" || b.byRef[o.Reference] != nil {
		tail := make([]byte, 5)
		for i := range tail {
			tail[i] = refAlphabet[b.rng.IntN(len(refAlphabet))]
		}
		o.Reference = fmt.Sprintf("order_%d_%s", now.Unix(), tail)
	}
	o.PlacedAt = now
	for range o.Quantity {
		id := fmt.Sprintf("%016x", b.rng.Uint64())
		o.ESims = append(o.ESims, ESim{
			ICCID:   withCheckDigit(fmt.Sprintf("8932042%011d", b.rng.Int64N(1e11))),
			QRCode:  "https://qr.example.com/" + id + ".png",
			Install: "https://esimsetup.apple.com/esim_qrcode_provisioning?carddata=LPA:1$rsp.example.com$" + strings.ToUpper(id),
		})
	}
	o.pendingID = fmt.Sprintf("PENDING_B%s_%d", now.UTC().Format("060102150405")+fmt.Sprintf("%04d", o.ID%10000), now.UnixMilli())
	b.orders = append(b.orders, o)
	b.byRef[o.Reference] = o
	if o.RequestID != "" {
		b.byRequest[o.RequestID] = o
		b.purchases[o.RequestID]++
	}
	if charge {
		b.enter(Entry{At: now, Kind: "purchase", Amount: -o.Total, Order: o.Reference})
	}
	o.Balance = b.balance
}

// placeOrder is POST /esims/order (D): package, price, quantity and balance are checked, then all of it happens at
// once: "Balance is checked before processing", "No partial deductions on failed orders".
func (s *Sim) placeOrder(c *call) reply {
	var in struct {
		PackageCode string      `json:"packageCode"`
		PackageName string      `json:"packageName"`
		Price       json.Number `json:"price"`
		Quantity    *int        `json:"quantity"`
		Duration    *int        `json:"duration"`
		FlagURL     string      `json:"flagUrl"`
	}
	if err := json.Unmarshal(c.body, &in); err != nil || in.PackageCode == "" || in.PackageName == "" || in.Price == "" {
		return refusal("MISSING_FIELDS")
	}
	quantity := 1
	if in.Quantity != nil {
		quantity = *in.Quantity
	}
	if quantity < 1 || quantity > 10 {
		return refusal("INVALID_QUANTITY")
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	pkg := b.pkgs[in.PackageCode]
	if pkg == nil {
		return refusal("INVALID_PACKAGE")
	}
	if cents, ok := cents(in.Price); !ok || cents != pkg.Cost {
		return refusal("PRICE_MISMATCH")
	}
	total := pkg.Cost * int64(quantity)
	if total > b.balance {
		return insufficient(b.balance, total)
	}
	o := &Order{RequestID: c.id, Package: *pkg, Quantity: quantity, Total: total, Calls: 1, Completed: true, submitted: in.PackageName}
	if n := s.cfg.PendingEvery; n > 0 && (len(b.orders)+1)%n == 0 {
		o.Pending, o.Completed = true, false
	}
	b.insert(o, c.now, true)
	if u := b.used[c.id]; u != nil {
		u.order = o
	}
	return reply{http.StatusOK, o.placed()}
}

// cents reads a price; more than two digits after the point never match.
func cents(n json.Number) (int64, bool) {
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1e12 {
		return 0, false
	}
	whole, frac, _ := strings.Cut(strconv.FormatFloat(f, 'f', -1, 64), ".")
	if len(frac) > 2 {
		return 0, false
	}
	v, err := strconv.ParseInt(whole+frac+"00"[len(frac):], 10, 64)
	return v, err == nil
}

type esimOut struct {
	ICCID   string `json:"iccid"`
	QRCode  string `json:"qrCodeUrl"`
	Install string `json:"directAppleInstallUrl"`
	Status  string `json:"status"`
	Pending bool   `json:"isPending"`
}

func (o *Order) esims() []esimOut {
	out := make([]esimOut, len(o.ESims))
	for i, e := range o.ESims {
		out[i] = esimOut{e.ICCID, e.QRCode, e.Install, "New", false}
		if !o.Completed {
			out[i] = esimOut{ICCID: o.pendingID, Status: "PENDING", Pending: true}
			if i > 0 {
				out[i].ICCID += "_" + strconv.Itoa(i)
			}
		}
	}
	return out
}

// placed is the answer to an order, completed or pending (D).
func (o *Order) placed() object {
	esims := o.esims()
	out := object{"success": true, "message": "Order processed successfully", "orderReference": o.Reference, "esimId": o.ID,
		"packageName": o.Package.Name, "newBalance": number(o.Balance), "qrCodeUrl": esims[0].QRCode,
		"directAppleInstallUrl": esims[0].Install, "paymentMethod": "balance", "status": "completed", "amount": number(o.Total),
		"profit": number(o.Package.Profit * int64(o.Quantity)), "final_price": number(o.Total), "processing_time_ms": 3, "esims": esims}
	if !o.Completed {
		out["status"] = "pending_details"
		out["message"] = "Order created successfully, eSIM details will be available shortly"
		out["note"] = "The order was placed successfully but eSIM details are being processed. Please check order status in a few minutes."
	}
	return out
}

// orderStatus is GET /esims/order?orderReference= (D). It shows the first eSIM only, whatever the quantity (D).
func (s *Sim) orderStatus(c *call) reply {
	ref := c.r.URL.Query().Get("orderReference")
	if ref == "" {
		return refusal("MISSING_FIELDS")
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.byRef[ref]
	if o == nil || s.faults.Hidden(c.r.URL.Path, c.now.Sub(o.PlacedAt), o.Reference, o.RequestID) {
		return refusal("ORDER_NOT_FOUND")
	}
	o.Looks++
	if !o.Completed && o.Looks >= s.cfg.PendingLooks && c.now.Sub(o.PlacedAt) >= s.cfg.PendingFor {
		o.Completed = true
	}
	payment := "succeeded"
	if o.Refunded {
		payment = "refunded" // I
	}
	e := o.esims()[0]
	return reply{http.StatusOK, object{"success": true, "order": object{
		"id": o.ID, "packageName": o.Package.Name, "packageCode": o.Package.Code, "status": o.status(c.now),
		"amount": number(o.Total), "finalPrice": number(o.Total), "orderDate": o.PlacedAt.UTC().Format(time.RFC3339),
		"orderReference": o.Reference, "paymentMethod": "balance", "paymentStatus": payment,
		"esim": object{"iccid": e.ICCID, "status": e.Status, "qrCodeUrl": e.QRCode, "directAppleInstallUrl": e.Install,
			"unlimited": o.Package.Bytes == 0, "totalVolume": o.Package.Bytes, "totalDuration": o.Package.Days,
			"expiredTime": o.PlacedAt.AddDate(0, 0, 180).UTC().Format(time.RFC3339)},
	}}}
}

// balance is GET /balance. The page that would describe it is not among the seeds: path and form are I.
func (s *Sim) balance(*call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return reply{http.StatusOK, object{"success": true, "balance": number(s.book.balance), "currency": "USD"}}
}

// packages is GET /packages?search=. Its fields are those that the document's code examples read (D); the path is I.
func (s *Sim) packages(c *call) reply {
	search, err := url.QueryUnescape(c.r.URL.Query().Get("search"))
	if err != nil {
		return refusal("MISSING_FIELDS")
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	list := []object{}
	for _, p := range s.book.pkgList {
		if strings.Contains(strings.ToLower(p.Name+" "+p.Code), strings.ToLower(search)) {
			list = append(list, object{"package_code": p.Code, "name": p.Name, "cost": number(p.Cost), "validity_days": p.Days,
				"data_bytes": p.Bytes, "locationNetworkList": []object{{"locationLogo": p.Flag}}})
		}
	}
	return reply{http.StatusOK, object{"success": true, "data": object{"packages": list, "total": len(list)}}}
}

// withCheckDigit ends a number with its Luhn digit, as ICCIDs carry it.
func withCheckDigit(digits string) string {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return digits + strconv.Itoa((10-sum%10)%10)
}
