package esimfly

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

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
	o := &Order{RequestID: c.id, Package: *pkg, Quantity: quantity, Total: total, Calls: 1, Completed: true}
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
		"id": o.ID, "packageName": o.Package.Name, "packageCode": o.Package.Code, "status": o.status(),
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
