package eiotclub

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Money is an amount in the smallest unit of its currency (cents; whole yen for JPY).
type Money struct {
	Minor    int64
	Currency string
}

func digits(currency string) int {
	if currency == "JPY" {
		return 0
	}
	return 2
}

// String writes the amount as a decimal with the currency's digits: "5.00", or "5" for yen.
func (m Money) String() string {
	if digits(m.Currency) == 0 {
		return strconv.FormatInt(m.Minor, 10)
	}
	sign, v := "", m.Minor
	if v < 0 {
		sign, v = "-", -v
	}
	return fmt.Sprintf("%s%d.%02d", sign, v/100, v%100)
}

// number writes the amount as the JSON number of a price field: 97.5, 13, 0.
func (m Money) number() json.Number {
	s := m.String()
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return json.Number(s)
}

// MarshalJSON writes {"amount":"5.00","currency":"USD"}.
func (m Money) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"amount":%q,"currency":%q}`, m.String(), m.Currency), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Money) UnmarshalJSON(b []byte) error {
	var v struct{ Amount, Currency string }
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	minor, err := ParseMinor(v.Amount, v.Currency)
	*m = Money{minor, v.Currency}
	return err
}

// ParseMinor reads a decimal ("5.00") as smallest units of a currency; more digits than the currency has are an error.
func ParseMinor(amount, currency string) (int64, error) {
	whole, frac, _ := strings.Cut(amount, ".")
	d := digits(currency)
	if len(frac) > d {
		return 0, fmt.Errorf("amount %q has more than %d digits", amount, d)
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", d-len(frac)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("amount %q: %w", amount, err)
	}
	return n, nil
}

// Card is a SIM (ICCID) or a cloud eSIM (EID) of the account.
type Card struct {
	ICCID       string `json:"iccid,omitempty"`
	EID         string `json:"eid,omitempty"`
	IMSI        string `json:"imsi,omitempty"`
	IMEI        string `json:"imei,omitempty"`
	ProductCode string `json:"product_code,omitempty"`
}

// Package is what a card, a cloud eSIM or an eSIM can carry. Price is in smallest units of the account's currency.
type Package struct {
	Code        string `json:"code"`
	Name        string `json:"name"`
	GzhName     string `json:"gzh_name,omitempty"`
	ProductCode string `json:"product_code"`
	Type        int    `json:"type"` // 2 limited by data, 3 by time, 4 by time and speed
	MB          int64  `json:"mb"`
	Days        int    `json:"days"`
	Price       int64  `json:"price"`
}

// Goods is an eSIM for sale with the package on it. Price is in US cents; Stock below zero is without end.
type Goods struct {
	Code    string  `json:"code"`
	Name    string  `json:"name"`
	Price   int64   `json:"price"`
	Stock   int     `json:"stock"`
	Package Package `json:"package"`
}

// PoolType is a package for a pool of cards. Its price is in no document: the account is charged all the same.
type PoolType struct {
	Code  string `json:"code"`
	Lines int    `json:"lines"`
	Days  int    `json:"days"`
	Bytes int64  `json:"bytes"`
	Price int64  `json:"price"`
}

// Codes of the default catalogue, most of them from the document's examples.
const (
	PackageCode      = "CN-5M-7D-C-US-20230103AC4BF927"
	ProductCode      = "2ROPDOZLLB20210607140809"
	OtherProduct     = "1US-11111111407170352"
	OtherPackageCode = "GJ-LLB-2G-30-1US-11111111407170352" // belongs to OtherProduct: 41050 on a default card
	GoodsCode        = "ESIM-EU-1G-7D"
	SoldOutGoodsCode = "ESIM-JP-3G-15D" // no stock: 45110
	CloudPackageCode = "CLOUD-CN-1G-30D"
	PoolTypeCode     = "INTERNATIONAL-DATAPOOL-50M-7D-C-CNU-202403126BBBFA0A"
	SeedICCID        = "8988308650100524999"
	SeedEID          = "35060000000000000024000032688148"
	SeedPoolID       = 380
)

func defaultPackages() []Package {
	return []Package{
		{PackageCode, "CN-5M-7天", "5M 7days", ProductCode, 2, 5, 7, 50},
		{"GJ-LLB-100M-30D-RPOZLLB-20221115DAAB11A1", "国际-流量包-100M-30天", "100M 30day", ProductCode, 2, 100, 30, 1300},
		{"GJ-LLB-360M-360-2ROP-11111111407170352", "国际-流量包-360M-360天", "360MB 360day", ProductCode, 2, 360, 360, 16250},
		{"A-TM-50M-1D-A-CN-TEST-2024052489FC722C", "A-TM-50M-1天", "", ProductCode, 3, 50, 1, 300},
		{OtherPackageCode, "国际-流量包-2G-30天", "2GB 30day", OtherProduct, 2, 2048, 30, 9750},
	}
}

func defaultGoods() []Goods {
	return []Goods{
		{GoodsCode, "Europe 1 GB 7 days", 140, -1, Package{"EU-1G-7D-INIT", "EU-1G-7天", "", ProductCode, 2, 1024, 7, 140}},
		{"ESIM-GLOBAL-3G-30D", "Global 3 GB 30 days", 809, -1, Package{"GLOBAL-3G-30D-INIT", "GLOBAL-3G-30天", "", ProductCode, 2, 3072, 30, 809}},
		{SoldOutGoodsCode, "Japan 3 GB 15 days", 650, 0, Package{"JP-3G-15D-INIT", "JP-3G-15天", "", ProductCode, 2, 3072, 15, 650}},
	}
}

func defaultCloudPackages() []Package {
	return []Package{
		{CloudPackageCode, "CLOUD-CN-1G-30天", "1GB 30day", ProductCode, 2, 1024, 30, 300},
		{"CLOUD-EU-500M-7D", "CLOUD-EU-500M-7天", "500MB 7day", ProductCode, 2, 500, 7, 180},
	}
}

func defaultPoolTypes() []PoolType {
	return []PoolType{
		{PoolTypeCode, 10, 7, 50 << 20, 2000},
		{"INTERNATIONAL-DATAPOOL-1G-30D-C-CNU-20240312AAAA0001", 50, 30, 1 << 30, 12000},
	}
}

// luhn returns the check digit that makes a number's digits valid (ISO/IEC 7812), as ICCIDs and IMEIs carry it.
func luhn(digits string) byte {
	sum := 0
	for i := 0; i < len(digits); i++ {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return byte('0' + (10-sum%10)%10)
}

func withCheckDigit(digits string) string { return digits + string(luhn(digits)) }

func pad(n int64, width int) string { return fmt.Sprintf("%0*d", width, n) }
