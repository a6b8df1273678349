package order

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Suppliers and their products, as they stand in subjects and messages.
const (
	EIOTCLUB = "eiotclub"
	ESIMFly  = "esimfly"

	ProductPackage          = "package"
	ProductESIM             = "esim"
	ProductCloudESIMPackage = "cloud_esim_package"
	ProductPoolPackage      = "pool_package"
)

// Suppliers lists the suppliers that simline knows.
var Suppliers = []string{EIOTCLUB, ESIMFly}

// Products lists what can be bought from a supplier; nil for an unknown one.
func Products(supplier string) []string {
	switch supplier {
	case EIOTCLUB:
		return []string{ProductPackage, ProductESIM, ProductCloudESIMPackage, ProductPoolPackage}
	case ESIMFly:
		return []string{ProductESIM}
	}
	return nil
}

// Request is what upstream asks for. Which of the product's own fields must
// stand depends on supplier and product; see Validate.
type Request struct {
	// OrderID is upstream's id, 1..32 of A-Z a-z 0-9 _ -. It is the idempotency
	// key and goes to EIOTCLUB as outTradeNo.
	OrderID  string `json:"order_id"`
	Supplier string `json:"supplier"`
	Product  string `json:"product"`
	// Account is the account's name in our configuration; empty means "default".
	Account string `json:"account,omitempty"`

	ICCID        string `json:"iccid,omitempty"`          // eiotclub package
	EID          string `json:"eid,omitempty"`            // eiotclub cloud_esim_package
	GoodsCode    string `json:"goods_code,omitempty"`     // eiotclub esim
	PoolObjectID string `json:"pool_object_id,omitempty"` // eiotclub pool_package
	PoolTypeCode string `json:"pool_type_code,omitempty"` // eiotclub pool_package
	PackageCode  string `json:"package_code,omitempty"`   // eiotclub package, cloud_esim_package; esimfly esim
	PackageName  string `json:"package_name,omitempty"`   // esimfly esim
	Price        *Money `json:"price,omitempty"`          // esimfly esim: of one eSIM; must match the supplier's
	Quantity     int    `json:"quantity,omitempty"`       // esimfly esim: 1..10, 0 means 1
	DurationDays int    `json:"duration_days,omitempty"`  // esimfly esim: days, 0 means unstated
	FlagURL      string `json:"flag_url,omitempty"`       // esimfly esim

	// MaxTotal is the most that this order may cost; nothing is bought above it.
	MaxTotal *Money `json:"max_total,omitempty"`
	// ExpiresAt: not tried after this moment.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// Metadata is upstream's own and comes back in each event. At most 16 KiB.
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// DefaultAccount is the account of a request that names none.
const DefaultAccount = "default"

// MaxQuantity is the most eSIMs that one order is of.
const MaxQuantity = 10

// MaxMetadata bounds Request.Metadata, in bytes.
const MaxMetadata = 16 << 10

// ValidID says whether id can be an order id.
func ValidID(id string) bool { return isToken(id, 32) }

// ValidAccount says whether name can be an account's name in a subject or URL.
func ValidAccount(name string) bool { return isToken(name, 64) }

// ValidICCID says whether s can be a card's number: 18 to 22 digits.
func ValidICCID(s string) bool { return isDigits(s, 18, 22) }

// isToken: 1 to most of A-Z, a-z, 0-9, _ and -.
func isToken(s string, most int) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= most
}

// isDigits: least to most of 0-9.
func isDigits(s string, least, most int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) >= least && len(s) <= most
}

// wants lists the fields that each product must have; it must not have another's.
var wants = map[string][]string{
	EIOTCLUB + " " + ProductPackage:          {"iccid", "package_code"},
	EIOTCLUB + " " + ProductESIM:             {"goods_code"},
	EIOTCLUB + " " + ProductCloudESIMPackage: {"eid", "package_code"},
	EIOTCLUB + " " + ProductPoolPackage:      {"pool_object_id", "pool_type_code"},
	ESIMFly + " " + ProductESIM:              {"package_code", "package_name"},
}

// Validate reports every fault of r at once. It does not look at the clock:
// a request past its expires_at is a valid one that expires.
func (r *Request) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !ValidID(r.OrderID) {
		bad("order_id %.40q is not 1 to 32 of A-Z, a-z, 0-9, _ and -", r.OrderID)
	}
	if !ValidAccount(r.Account) {
		bad("account %.40q is not 1 to 64 of A-Z, a-z, 0-9, _ and -", r.Account)
	}
	need := func(name, value string) {
		if value == "" {
			bad("%s is missing", name)
		} else if utf8.RuneCountInString(value) > 255 || strings.ContainsFunc(value, isControl) {
			bad("%s is over 255 characters or holds control characters", name)
		}
	}
	none := func(name, value string) {
		if value != "" {
			bad("%s does not belong to %s %s", name, r.Supplier, r.Product)
		}
	}
	fields, known := wants[r.Supplier+" "+r.Product]
	if !known {
		bad("supplier %.32q has no product %.32q", r.Supplier, r.Product)
		return errors.Join(faults...)
	}
	for _, f := range [...]struct{ name, value string }{
		{"iccid", r.ICCID}, {"eid", r.EID}, {"goods_code", r.GoodsCode}, {"pool_object_id", r.PoolObjectID},
		{"pool_type_code", r.PoolTypeCode}, {"package_code", r.PackageCode}, {"package_name", r.PackageName},
	} {
		if slices.Contains(fields, f.name) {
			need(f.name, f.value)
		} else {
			none(f.name, f.value)
		}
	}
	if r.ICCID != "" && !ValidICCID(r.ICCID) {
		bad("iccid is not 18 to 22 digits")
	}
	if r.EID != "" && !isDigits(r.EID, 32, 32) {
		bad("eid is not 32 digits")
	}
	if r.Supplier == ESIMFly {
		if r.Price == nil {
			bad("price is missing")
		} else if r.Price.Amount.Sign() <= 0 {
			bad("price is not above zero")
		}
		if r.Quantity < 0 || r.Quantity > MaxQuantity {
			bad("quantity %d is not 1 to %d", r.Quantity, MaxQuantity)
		}
		if r.DurationDays < 0 || r.DurationDays > 3650 {
			bad("duration_days %d is not 1 to 3650", r.DurationDays)
		}
		if utf8.RuneCountInString(r.FlagURL) > 1024 || strings.ContainsFunc(r.FlagURL, isControl) {
			bad("flag_url is over 1024 characters or holds control characters")
		}
	} else if r.Price != nil || r.Quantity != 0 || r.DurationDays != 0 || r.FlagURL != "" {
		bad("price, quantity, duration_days and flag_url belong to esimfly only")
	}
	if r.MaxTotal != nil && r.MaxTotal.Amount.Sign() < 0 {
		bad("max_total is negative")
	}
	if len(r.Metadata) > MaxMetadata {
		bad("metadata is over %d bytes", MaxMetadata)
	}
	return errors.Join(faults...)
}

func isControl(c rune) bool { return c < 0x20 || c == 0x7f }

// Hash identifies what is asked for: two requests under one order id with
// different hashes are a conflict. Metadata and expires_at count as well:
// who changes them under the same id means something else than before.
func (r Request) Hash() string {
	if r.Account == "" {
		r.Account = DefaultAccount
	}
	if r.Supplier == ESIMFly && r.Quantity == 0 {
		r.Quantity = 1
	}
	buf := hashed.Get().(*[]byte)
	defer hashed.Put(buf)
	b, err := r.AppendJSON((*buf)[:0])
	if err != nil { // Metadata that is not JSON never passes decoding.
		b = fmt.Appendf(nil, "%+v", r)
	}
	*buf = b
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// hashed are buffers for what is hashed, which is some 20 KiB at most.
var hashed = sync.Pool{New: func() any { return new(make([]byte, 0, 512)) }}

// Object is what must not be bought for twice at once: the card, or the order
// itself where each purchase makes a new one or many may be in work side by side
// (a pool takes any number of packages).
func (r Request) Object() string {
	switch {
	case r.ICCID != "":
		return "iccid:" + r.ICCID
	case r.EID != "":
		return "eid:" + r.EID
	}
	return "order:" + r.OrderID
}
