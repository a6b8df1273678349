package eiotclub

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/simline/simline/internal/sim/fault"
)

// admin adds the administrator's endpoints: what a test or the demo does to the supplier from outside. No signature.
//
//	GET    /_sim/book      everything the supplier knows, as JSON
//	GET    /_sim/order     ?id= one order
//	GET    /_sim/faults    rules in force; POST adds one or an array; DELETE removes ?id= or all
//	POST   /_sim/plant     {"order": {…}, "charge": true, "notify": true}: an order that no call asked for
//	POST   /_sim/price     {"id", "price": {"amount", "currency"}, "rebook"}
//	POST   /_sim/package   {"id", "code"}: the order says it is another package
//	POST   /_sim/refund    {"id", "amount": {…}, "quiet"}
//	POST   /_sim/fail, /_sim/finish, /_sim/forget, /_sim/odd   {"id"}
//	POST   /_sim/topup     {"minor": 10000}
//	POST   /_sim/stock     {"code", "stock"}
//	POST   /_sim/cards     [{"iccid"}, …]
//	POST   /_sim/task      {"iccids": […]} starts one; {"id", "status", "result"} fixes one
//	POST   /_sim/notify    {"event", "iccid" | "eid" | "order", …}: any of the 20 kinds
//	GET    /_sim/cdr       totals, files and the oracle by hour; POST /_sim/cdr/step {"steps": 1} makes half hours pass
//	POST   /_sim/resend    {"id"}: one notification again; /_sim/release lets held ones go
func (s *Sim) admin(mux *http.ServeMux) {
	mux.HandleFunc("GET /_sim/book", func(w http.ResponseWriter, _ *http.Request) { fault.WriteJSON(w, http.StatusOK, s.Book()) })
	mux.HandleFunc("GET /_sim/order", func(w http.ResponseWriter, r *http.Request) {
		o, found := s.Order(r.URL.Query().Get("id"))
		if !found {
			fault.WriteJSON(w, http.StatusNotFound, map[string]string{"error": "no such order"})
			return
		}
		fault.WriteJSON(w, http.StatusOK, o)
	})
	mux.HandleFunc("/_sim/faults", s.faults.Admin)

	type named struct {
		ID     string   `json:"id"`
		Code   string   `json:"code"`
		Minor  int64    `json:"minor"`
		Price  Money    `json:"price"`
		Amount *Money   `json:"amount"`
		Rebook bool     `json:"rebook"`
		Quiet  bool     `json:"quiet"`
		Stock  int      `json:"stock"`
		Status *int     `json:"status"`
		Result string   `json:"result"`
		ICCIDs []string `json:"iccids"`
	}
	do := func(name string, f func(named) (any, error)) {
		mux.HandleFunc("POST /_sim/"+name, func(w http.ResponseWriter, r *http.Request) {
			var n named
			if r.ContentLength != 0 && !decode(w, r, &n) {
				return
			}
			v, err := f(n)
			if err != nil {
				fault.WriteJSON(w, http.StatusUnprocessableEntity, map[string]string{"error": err.Error()})
				return
			}
			if v == nil {
				v = struct{}{}
			}
			fault.WriteJSON(w, http.StatusOK, v)
		})
	}
	do("price", func(n named) (any, error) { return nil, s.SetPrice(n.ID, n.Price, n.Rebook) })
	do("package", func(n named) (any, error) { return nil, s.SetPackage(n.ID, n.Code) })
	do("refund", func(n named) (any, error) { return nil, s.Refund(n.ID, n.Amount, n.Quiet) })
	do("fail", func(n named) (any, error) { return nil, s.Fail(n.ID) })
	do("finish", func(n named) (any, error) { return nil, s.Finish(n.ID) })
	do("forget", func(n named) (any, error) { return nil, s.Forget(n.ID) })
	do("odd", func(n named) (any, error) { return nil, s.SetOddState(n.ID, true) })
	do("topup", func(n named) (any, error) { s.TopUp(n.Minor); return s.Balance(), nil })
	do("stock", func(n named) (any, error) { return nil, s.SetStock(n.Code, n.Stock) })
	do("release", func(named) (any, error) { s.Release(); return nil, nil })
	do("resend", func(n named) (any, error) {
		if !s.Resend(n.ID) {
			return nil, fmt.Errorf("no notification %q", n.ID)
		}
		return nil, nil
	})
	do("task", func(n named) (any, error) {
		switch {
		case n.ID == "":
			return map[string]string{"id": s.AddTask(n.ICCIDs...)}, nil
		case n.Status == nil:
			return nil, errors.New("status is missing")
		}
		return nil, s.SetTask(n.ID, *n.Status, n.Result)
	})
	mux.HandleFunc("POST /_sim/plant", func(w http.ResponseWriter, r *http.Request) {
		var v struct {
			Order  Order `json:"order"`
			Charge bool  `json:"charge"`
			Notify bool  `json:"notify"`
		}
		if decode(w, r, &v) {
			o, err := s.Plant(v.Order, v.Charge, v.Notify)
			result(w, o, err)
		}
	})
	mux.HandleFunc("POST /_sim/cards", func(w http.ResponseWriter, r *http.Request) {
		var v []Card
		if decode(w, r, &v) {
			s.AddCards(v...)
			result(w, len(v), nil)
		}
	})
	mux.HandleFunc("POST /_sim/notify", func(w http.ResponseWriter, r *http.Request) {
		var v struct {
			Event string `json:"event"`
			Subject
		}
		if decode(w, r, &v) {
			n, err := s.Notify(v.Event, v.Subject)
			result(w, n, err)
		}
	})
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		fault.WriteJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return false
	}
	return true
}

func result(w http.ResponseWriter, v any, err error) {
	if err != nil {
		fault.WriteJSON(w, http.StatusUnprocessableEntity, map[string]string{"error": err.Error()})
		return
	}
	fault.WriteJSON(w, http.StatusOK, v)
}
