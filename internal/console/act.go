package console

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// awaitOrderer is how long an answer waits for what orderer makes of a deed.
const awaitOrderer = 3 * time.Second

func (s *Server) submitForm(w http.ResponseWriter, r *http.Request, _ session) {
	s.render(w, r, http.StatusOK, "submit", map[string]any{"Body": exampleRequest})
}

const exampleRequest = `{
  "order_id": "",
  "supplier": "eiotclub",
  "product": "package",
  "account": "default",
  "iccid": "",
  "package_code": "",
  "max_total": {"amount": "5.00", "currency": "USD"}
}`

func (s *Server) submit(_ http.ResponseWriter, r *http.Request, who operator.Who) (string, error) {
	req, err := s.op.Submit(r.Context(), who, []byte(r.PostFormValue("body")))
	if err != nil {
		return "", err
	}
	if _, moved, _ := s.op.Await(r.Context(), req.OrderID, 0, awaitOrderer); !moved {
		return "/orders?done=submitted", nil // it has no story yet
	}
	return "/orders/" + req.OrderID + "?done=submitted", nil
}

func (s *Server) resolve(_ http.ResponseWriter, r *http.Request, who operator.Who) (string, error) {
	res := operator.Resolution{SupplierOrderID: strings.TrimSpace(r.PostFormValue("supplier_order_id"))}
	switch r.PostFormValue("as") {
	case "placed":
		res.As = operator.AsPlaced
	case "fulfilled":
		res.As = operator.AsFulfilled
	case "not-placed":
		res.As = operator.AsNotPlaced
	case "send-again":
		res.As, res.SendAgain = operator.AsNotPlaced, true
	}
	id := r.PathValue("id")
	was, err := s.op.Resolve(r.Context(), who, id, res)
	if err != nil {
		return "", err
	}
	_, _, err = s.op.Await(r.Context(), id, was.Seq, awaitOrderer)
	return "/orders/" + id + "?done=resolved", err
}

func (s *Server) cancel(_ http.ResponseWriter, r *http.Request, who operator.Who) (string, error) {
	id := r.PathValue("id")
	was, err := s.op.Cancel(r.Context(), who, id)
	if err != nil {
		return "", err
	}
	_, _, err = s.op.Await(r.Context(), id, was.Seq, awaitOrderer)
	return "/orders/" + id + "?done=cancelled", err
}

func (s *Server) setSwitch(_ http.ResponseWriter, r *http.Request, who operator.Who) (string, error) {
	supplier, what, ok := strings.Cut(r.PostFormValue("switch"), ".")
	on := r.PostFormValue("on")
	if !ok || on != "true" && on != "false" {
		return "", fmt.Errorf("%w: which switch, and on or off?", operator.ErrInvalid)
	}
	return "/switches?done=switched", s.op.SetSwitch(r.Context(), who, supplier, what, on == "true")
}

// deadFilter reads which letters a query asks for.
func deadFilter(q url.Values) (operator.DeadFilter, error) {
	f := operator.DeadFilter{Stream: q.Get("stream"), Supplier: q.Get("supplier"), Error: strings.TrimSpace(q.Get("error"))}
	for name, d := range map[string]*time.Duration{"older": &f.Older, "newer": &f.Newer} {
		if v := q.Get(name); v != "" {
			var err error
			if *d, err = time.ParseDuration(v); err != nil || *d < 0 {
				return f, fmt.Errorf("%w: %s %.20q is not a time such as 90m or 24h", operator.ErrInvalid, name, v)
			}
		}
	}
	return f, nil
}

// choices of the dead letters' filters.
func deadChoices(m map[string]any, q url.Values, f operator.DeadFilter) map[string]any {
	m["Filter"], m["Older"], m["Newer"] = f, q.Get("older"), q.Get("newer")
	m["Streams"], m["Suppliers"], m["Reasons"] = bus.StreamNames(), order.Suppliers, wire.Reasons
	return m
}

func masked(list []operator.Letter) []operator.Letter {
	for i := range list {
		list[i].Error, list[i].Data = operator.MaskText(list[i].Error), nil
	}
	return list
}

func (s *Server) dead(w http.ResponseWriter, r *http.Request, _ session) {
	q := r.URL.Query()
	f, err := deadFilter(q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	before, _ := strconv.ParseUint(q.Get("before"), 10, 64) // anything else begins at the end
	begin := time.Now()
	p, err := s.op.Newest(r.Context(), f, before, listed)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	counts, err := s.op.DeadCounts(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	p.Letters = masked(p.Letters)
	s.render(w, r, http.StatusOK, "dead", deadChoices(map[string]any{"Page": p, "Counts": counts, "Took": time.Since(begin)}, q, f))
}

func (s *Server) letter(w http.ResponseWriter, r *http.Request, _ session) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		s.fail(w, r, operator.ErrNotFound)
		return
	}
	l, err := s.op.Letter(r.Context(), seq)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	l.Data, l.Error = operator.MaskJSON(l.Data), operator.MaskText(l.Error)
	s.showLetter(w, r, l, false)
}

func (s *Server) revealLetter(w http.ResponseWriter, r *http.Request, who operator.Who) (string, error) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		return "", operator.ErrNotFound
	}
	l, err := s.op.RevealLetter(r.Context(), who, seq)
	if err == nil {
		s.showLetter(w, r, l, true)
	}
	return "", err
}

func (s *Server) showLetter(w http.ResponseWriter, r *http.Request, l operator.Letter, clear bool) {
	_, edit := l.CheckEdit(nil)
	signed := l.Stream == bus.StreamWebhooks
	s.render(w, r, http.StatusOK, "letter", map[string]any{"Letter": l, "Clear": clear, "CanReplay": l.CanReplay(), "CanEdit": l.CanReplay() == nil && !signed, "Why": edit})
}

func (s *Server) edit(_ http.ResponseWriter, r *http.Request, who operator.Who) (string, error) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		return "", operator.ErrNotFound
	}
	return "/dead?done=edited", s.op.Edited(r.Context(), who, seq, []byte(r.PostFormValue("body")))
}

// mostReplayed is how many letters one click replays; the rest is there still.
const mostReplayed = 1000

// chosen are the letters that a query asks for: one by its sequence, or those that
// a filter picks up to a last one, so that what came since is not replayed unseen.
func (s *Server) chosen(r *http.Request, q url.Values) (can, cannot []operator.Letter, f operator.DeadFilter, err error) {
	if f, err = deadFilter(q); err != nil {
		return nil, nil, f, err
	}
	take := func(l operator.Letter) {
		l.Data = nil
		if l.CanReplay() == nil {
			can = append(can, l)
		} else {
			cannot = append(cannot, l)
		}
	}
	if one := q.Get("seq"); one != "" {
		seq, perr := strconv.ParseUint(one, 10, 64)
		if perr != nil {
			return nil, nil, f, operator.ErrNotFound
		}
		l, err := s.op.Letter(r.Context(), seq)
		if err == nil {
			take(l)
		}
		return can, cannot, f, err
	}
	last, _ := strconv.ParseUint(q.Get("last"), 10, 64) // none: all that there are
	err = s.op.Letters(r.Context(), f, func(l operator.Letter) error {
		if last == 0 || l.Seq <= last {
			take(l)
		}
		return nil
	})
	return can, cannot, f, err
}

// replayPreview says what a replay would do, and asks why.
func (s *Server) replayPreview(w http.ResponseWriter, r *http.Request, _ session) {
	q := r.URL.Query()
	can, cannot, f, err := s.chosen(r, q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var last uint64
	if len(can) > 0 {
		last = can[min(len(can), mostReplayed)-1].Seq
	}
	m := map[string]any{"Count": min(len(can), mostReplayed), "More": max(0, len(can)-mostReplayed), "Cannot": len(cannot), "First": masked(can[:min(10, len(can))]), "Last": last, "Seq": q.Get("seq")}
	s.render(w, r, http.StatusOK, "replay", deadChoices(m, q, f))
}

// replay does what the preview said, and no more.
func (s *Server) replay(w http.ResponseWriter, r *http.Request, who operator.Who) (string, error) {
	// A thousand letters take longer than a page may.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(5 * time.Minute)) // a writer without deadlines needs none
	if r.PostFormValue("seq") == "" && r.PostFormValue("last") == "" {
		return "", fmt.Errorf("%w: which?", operator.ErrInvalid)
	}
	can, _, _, err := s.chosen(r, r.PostForm)
	if err != nil {
		return "", err
	}
	seqs := make([]uint64, 0, len(can))
	for _, l := range can[:min(len(can), mostReplayed)] {
		seqs = append(seqs, l.Seq)
	}
	done, err := s.op.Replay(r.Context(), who, seqs, false, nil)
	for _, why := range done.Failed {
		err = cmp.Or(err, fmt.Errorf("%d were replayed, %d were not: %w", done.Done, len(done.Failed), why))
	}
	return "/dead?done=replayed", err
}
