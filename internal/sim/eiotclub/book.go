package eiotclub

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Product is one of the four things that can be bought, in simline's words.
type Product string

// The products.
const (
	PackageProduct Product = "package"
	ESimProduct    Product = "esim"
	CloudProduct   Product = "cloud_esim_package"
	PoolProduct    Product = "pool_package"
)

// Order is one row of the supplier's book. All times are the simulator's clock.
type Order struct {
	Product     Product   `json:"product"`
	OutTradeNo  string    `json:"out_trade_no,omitempty"` // the buyer's id; empty on rows of other channels
	OrderID     int64     `json:"order_id"`               // orderId; eshopOrderId for cloud eSIMs; pool_record_id for pools
	OrderNumber string    `json:"order_number,omitempty"` // orderNumber (package), orderId (esim, cloud), order_no (pool)
	ICCID       string    `json:"iccid,omitempty"`
	EID         string    `json:"eid,omitempty"`
	PoolID      int       `json:"pool_id,omitempty"`
	Code        string    `json:"code"`    // packageCode, eSIMGoodsCode or pool_type_code as bought
	Package     Package   `json:"package"` // what it carries
	Activation  string    `json:"activation_code,omitempty"`
	Price       Money     `json:"price"`
	Channel     string    `json:"sales_channel"` // API, USER, SYSTEM, TRANSFER, PLATFORM
	FromICCID   string    `json:"from_iccid,omitempty"`
	FromOrderID int64     `json:"from_order_id,omitempty"`
	PlacedAt    time.Time `json:"placed_at"`
	ReadyAt     time.Time `json:"ready_at"` // an eSIM is processing before
	StartAt     time.Time `json:"start_at"`
	EndAt       time.Time `json:"end_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	UsedBytes   int64     `json:"used_bytes"`
	Refunded    *Money    `json:"refunded,omitempty"` // what was paid back
	RefundedAt  time.Time `json:"refunded_at,omitzero"`
	Failed      bool      `json:"failed,omitempty"` // status -1
	OddState    bool      `json:"odd_state,omitempty"`
	Planted     bool      `json:"planted,omitempty"` // a hook made or changed it behind the buyer's back
	Calls       int       `json:"calls"`             // purchase calls with this outTradeNo, refused repeats included
}

// ID is the supplier's order id as the buyer gets it from the purchase: orderId (package, eSIM), eshopOrderId (cloud
// eSIM), order_no (pool).
func (o *Order) ID() string {
	switch o.Product {
	case ESimProduct, PoolProduct:
		return o.OrderNumber
	}
	return fmt.Sprint(o.OrderID)
}

// state is the documented 0 waiting, 1 in use, 2 finished (used up, expired or refunded).
func (o *Order) state(now time.Time) int {
	switch {
	case o.Refunded != nil || o.Failed || o.usedUp() || !now.Before(o.EndAt):
		return 2
	case now.Before(o.StartAt):
		return 0
	}
	return 1
}

// shownState is what an answer's row says. The seed's answer to state 2 has rows with an undocumented -9; here they
// are what was refunded before it began, and each fourth finished row (I: the document says nothing about it).
func (o *Order) shownState(now time.Time) int {
	s := o.state(now)
	if o.OddState || s == 2 && (o.neverBegan() || o.OrderID%4 == 0) {
		return -9
	}
	return s
}

func (o *Order) neverBegan() bool { return o.Refunded != nil && o.RefundedAt.Before(o.StartAt) }

func (o *Order) usedUp() bool { return o.Package.Type == 2 && o.UsedBytes >= o.Package.MB<<20 }

// Entry is one line of the account's money.
type Entry struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"` // opening, purchase, refund, top_up, planted
	Amount  int64     `json:"amount_minor"`
	Order   string    `json:"order,omitempty"` // outTradeNo, or the supplier's id on rows without one
	Balance int64     `json:"balance_minor"`   // after it
}

// Task is a batch job made by card/reset.
type Task struct {
	ID     string    `json:"id"`
	ICCIDs []string  `json:"iccids"`
	At     time.Time `json:"at"`
	Status *int      `json:"status,omitempty"` // set by a hook; nil follows the clock
	Result string    `json:"result"`
}

// book is everything that the supplier knows. One lock; every operation but the lists is O(1) or O(log n).
type book struct {
	mu       sync.Mutex
	currency string
	rng      *rand.Rand
	nextID   int64

	orders    []*Order
	byOut     map[string]*Order
	byID      map[int64]*Order
	byNumber  map[string]*Order
	byICCID   map[string][]*Order
	byEID     map[string][]*Order
	byPool    map[int][]*Order
	purchases map[string]int
	burnt     map[string]bool

	cards    map[string]*Card // by ICCID or EID
	cardList []*Card
	lastEnd  map[string]time.Time // by ICCID or EID: when what is queued on the card ends

	packages, cloudPackages map[string]Package
	goods                   map[string]*Goods
	poolTypes               map[string]PoolType
	pools                   map[int]*Pool
	tasks                   map[string]*Task
	refreshed               map[string]time.Time

	balance int64
	ledger  []Entry
	due     dueHeap
	traffic map[trafficKey]int64
}

type trafficKey struct {
	iccid string
	day   string // yyyy-MM-dd, UTC
}

// Pool is a group of cards that shares its packages.
type Pool struct {
	ID        int       `json:"pool_object_id"`
	Memo      string    `json:"memo"`
	CreatedAt time.Time `json:"created_at"`
	Cards     []string  `json:"cards"`
}

func newBook(cfg Config, now time.Time) *book {
	b := &book{
		currency: cfg.Currency, rng: rand.New(rand.NewPCG(cfg.Seed, 0xe107)), nextID: cfg.FirstOrderID,
		byOut: map[string]*Order{}, byID: map[int64]*Order{}, byNumber: map[string]*Order{}, byICCID: map[string][]*Order{},
		byEID: map[string][]*Order{}, byPool: map[int][]*Order{}, purchases: map[string]int{}, burnt: map[string]bool{},
		cards: map[string]*Card{}, lastEnd: map[string]time.Time{}, packages: map[string]Package{},
		cloudPackages: map[string]Package{}, goods: map[string]*Goods{}, poolTypes: map[string]PoolType{},
		pools: map[int]*Pool{}, tasks: map[string]*Task{}, refreshed: map[string]time.Time{}, traffic: map[trafficKey]int64{},
	}
	for _, c := range cfg.Cards {
		b.addCard(c)
	}
	for _, p := range cfg.Packages {
		b.packages[p.Code] = p
	}
	for _, p := range cfg.CloudPackages {
		b.cloudPackages[p.Code] = p
	}
	for _, g := range cfg.Goods {
		b.goods[g.Code] = &g
	}
	for _, p := range cfg.PoolTypes {
		b.poolTypes[p.Code] = p
	}
	for _, id := range []int{SeedPoolID, 385, 387} {
		b.pools[id] = &Pool{ID: id, CreatedAt: now}
	}
	b.enter(Entry{At: now, Kind: "opening", Amount: cfg.Opening})
	return b
}

func (b *book) addCard(c Card) *Card {
	if c.ProductCode == "" {
		c.ProductCode = ProductCode
	}
	if c.IMSI == "" {
		c.IMSI = fmt.Sprintf("46001%010d", b.rng.Int64N(1e10))
	}
	if c.IMEI == "" && c.ICCID != "" {
		c.IMEI = withCheckDigit(fmt.Sprintf("35%012d", b.rng.Int64N(1e12)))
	}
	key := c.ICCID + c.EID
	if old := b.cards[key]; old != nil {
		return old
	}
	b.cards[key] = &c
	b.cardList = append(b.cardList, &c)
	return &c
}

func (b *book) enter(e Entry) {
	b.balance += e.Amount
	e.Balance = b.balance
	b.ledger = append(b.ledger, e)
}

// insert puts an order into the book with its ids, its place in the card's queue and, when charge is set, its price
// off the balance. The one place where anything is bought.
func (b *book) insert(o *Order, now time.Time, charge bool) {
	o.OrderID = b.nextID
	b.nextID++
	o.PlacedAt, o.UpdatedAt = now, now
	if o.ReadyAt.IsZero() {
		o.ReadyAt = now
	}
	if o.Price.Currency == "" {
		o.Price.Currency = b.currency
	}
	switch o.Product {
	case PackageProduct:
		o.OrderNumber = fmt.Sprintf("%013d%016x%03x", now.UnixMilli(), b.rng.Uint64(), b.rng.Uint32()&0xfff)
	case ESimProduct, CloudProduct:
		o.OrderNumber = fmt.Sprintf("8%07d%010d", o.OrderID%1e7, b.rng.Int64N(1e10))
	case PoolProduct:
		o.OrderNumber = uuid(b.rng)
	}
	card := o.ICCID + o.EID
	o.StartAt = now
	if last := b.lastEnd[card]; card != "" && last.After(now) && last.Before(now.AddDate(100, 0, 0)) {
		o.StartAt = last // D: packages follow one another; state 0 is 后续会生效的套餐
	}
	if o.EndAt.IsZero() {
		o.EndAt = o.StartAt.AddDate(0, 0, o.Package.Days)
	}
	if card != "" {
		b.lastEnd[card] = o.EndAt
	}
	b.orders = append(b.orders, o)
	b.byID[o.OrderID], b.byNumber[o.OrderNumber] = o, o
	if o.OutTradeNo != "" {
		if b.byOut[o.OutTradeNo] == nil {
			b.byOut[o.OutTradeNo] = o
		}
		b.purchases[o.OutTradeNo]++
	}
	if o.ICCID != "" && o.Product != ESimProduct {
		b.byICCID[o.ICCID] = append(b.byICCID[o.ICCID], o)
	}
	if o.EID != "" {
		b.byEID[o.EID] = append(b.byEID[o.EID], o)
	}
	if o.Product == PoolProduct {
		b.byPool[o.PoolID] = append(b.byPool[o.PoolID], o)
	}
	if charge {
		b.enter(Entry{At: now, Kind: "purchase", Amount: -o.Price.Minor, Order: o.label()})
	}
	if o.Product != PoolProduct {
		heap.Push(&b.due, dueItem{o.StartAt, o, false})
		heap.Push(&b.due, dueItem{o.EndAt, o, true})
	}
}

func (o *Order) label() string {
	if o.OutTradeNo != "" {
		return o.OutTradeNo
	}
	return o.ID()
}

// find returns an order by any id that the supplier or the buyer gave it.
func (b *book) find(id string) *Order {
	if o := b.byOut[id]; o != nil {
		return o
	}
	if o := b.byNumber[id]; o != nil {
		return o
	}
	var n int64
	if _, err := fmt.Sscan(id, &n); err != nil {
		return nil
	}
	return b.byID[n]
}

func uuid(r *rand.Rand) string {
	a, c := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, c>>48&0x3fff|0x8000, c&0xffffffffffff)
}

// dueHeap holds what will begin and end, the soonest first.
type dueHeap []dueItem

type dueItem struct {
	at  time.Time
	o   *Order
	end bool
}

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(dueItem)) }
func (h *dueHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = slices.Delete(old, len(old)-1, len(old))
	return x
}
