package eiotclub

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/simline/simline/internal/sim/eiotclub/feed"
	"github.com/simline/simline/internal/sim/fault"
)

// NewFeed makes the account's CDR feed: the account's ICCIDs make the traffic, every record counts in
// /cdr/traffic/query, and fault rules of the simulator reach its files. What cfg sets itself is kept; Push is needed.
// It pushes when its Step or Run is called, or POST /_sim/cdr/step.
func (s *Sim) NewFeed(cfg feed.Config) *feed.Feed {
	if cfg.Cards == nil {
		cfg.Cards = s.trafficCards
	}
	if cfg.OnRecord == nil {
		cfg.OnRecord = s.RecordUsage
	}
	if cfg.Faults == nil {
		cfg.Faults = &s.faults
	}
	if cfg.Seed == 0 {
		cfg.Seed = s.cfg.Seed
	}
	if cfg.Logger == nil {
		cfg.Logger = s.cfg.Logger
	}
	f := feed.New(cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feed = f
	return f
}

func (s *Sim) trafficCards() []feed.Card {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	out := make([]feed.Card, 0, len(s.book.cardList))
	for _, c := range s.book.cardList {
		if c.ICCID != "" {
			out = append(out, feed.Card{ICCID: c.ICCID, IMSI: c.IMSI, IMEI: c.IMEI})
		}
	}
	return out
}

// CDR is what GET /_sim/cdr answers.
type CDR struct {
	feed.Totals
	Hours []CDRHour `json:"hours"`
}

// CDRHour is one row of the oracle.
type CDRHour struct {
	feed.Key
	feed.Sum
}

func (s *Sim) cdrAdmin(mux *http.ServeMux) {
	with := func(do func(w http.ResponseWriter, r *http.Request, f *feed.Feed)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			f := s.feed
			s.mu.Unlock()
			if f == nil {
				fault.WriteJSON(w, http.StatusNotFound, map[string]string{"error": "this simulator has no CDR feed"})
				return
			}
			do(w, r, f)
		}
	}
	mux.HandleFunc("GET /_sim/cdr", with(func(w http.ResponseWriter, _ *http.Request, f *feed.Feed) {
		out := CDR{Totals: f.Totals()}
		for k, v := range f.Oracle() {
			out.Hours = append(out.Hours, CDRHour{k, v})
		}
		slices.SortFunc(out.Hours, func(a, b CDRHour) int {
			if c := a.Hour.Compare(b.Hour); c != 0 {
				return c
			}
			return strings.Compare(a.ICCID+a.MCCMNC, b.ICCID+b.MCCMNC)
		})
		fault.WriteJSON(w, http.StatusOK, out)
	}))
	mux.HandleFunc("POST /_sim/cdr/step", with(func(w http.ResponseWriter, r *http.Request, f *feed.Feed) {
		in := struct {
			Steps int `json:"steps"`
		}{1}
		if r.ContentLength != 0 && !decode(w, r, &in) {
			return
		}
		for range in.Steps {
			if err := f.Step(context.WithoutCancel(r.Context())); err != nil {
				result(w, nil, err)
				return
			}
		}
		result(w, f.Totals(), nil)
	}))
}
