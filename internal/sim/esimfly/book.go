package esimfly

import (
	"fmt"
	"math/rand/v2"
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
}

func (o *Order) status() string {
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
