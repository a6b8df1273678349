package console

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/reconciler"
)

// moments of an order, as its page tells them.
const (
	kindStep         = "step"
	kindCall         = "call"
	kindLook         = "look"
	kindNotification = "notification"
	kindPerson       = "person"
	kindConflict     = "contradicted"
)

// happening is one thing that happened to an order.
type happening struct {
	At          time.Time
	Kind        string // as above
	What        string // the state, the endpoint, the notification's event, the deed
	Tone        string
	Text, Extra string
}

// order is the whole story of one order: each transition, call, look-up and
// notification, and what people did, with times.
func (s *Server) order(w http.ResponseWriter, r *http.Request, _ session) {
	events, err := s.op.Events(r.Context(), r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.story(w, r, operator.Masked(events), false)
}

// reveal shows the same with card data in clear, to who asks with a reason.
func (s *Server) reveal(w http.ResponseWriter, r *http.Request, who operator.Who) (string, error) {
	events, err := s.op.Reveal(r.Context(), who, r.PathValue("id"))
	if err == nil {
		s.story(w, r, events, true)
	}
	return "", err
}

func (s *Server) story(w http.ResponseWriter, r *http.Request, events []operator.Event, clear bool) {
	ctx, last := r.Context(), events[len(events)-1]
	list := tell(events)
	var gaps []string
	notes, err := s.db.NotificationsOf(ctx, last.OrderID)
	if err != nil {
		gaps = append(gaps, "notifications: "+err.Error())
	}
	for _, n := range notes {
		list = append(list, happening{At: n.ReceivedAt, Kind: kindNotification, What: n.Event, Tone: "calm", Text: "the supplier notified us", Extra: n.ID})
	}
	deeds, err := s.db.AuditOf(ctx, last.OrderID, 200)
	if err != nil {
		gaps = append(gaps, "audit: "+err.Error())
	}
	for _, d := range deeds {
		list = append(list, happening{At: d.At, Kind: kindPerson, What: words(d.Action), Tone: "plain", Text: d.Actor + ": " + operator.MaskText(d.Reason), Extra: "by " + d.Via})
	}
	slices.SortStableFunc(list, func(a, b happening) int { return a.At.Compare(b.At) })
	var found []reconciler.Entry
	entries, err := s.standing(ctx)
	if err != nil {
		gaps = append(gaps, "findings: "+err.Error())
	}
	for _, e := range entries {
		if e.Finding.OrderID == last.OrderID {
			found = append(found, e)
		}
	}
	s.render(w, r, http.StatusOK, "order", map[string]any{"Order": last, "Story": list, "Findings": found, "Gaps": gaps, "Clear": clear,
		"Events": len(events), "CanResolve": !last.State.Settled(), "CanCancel": !last.State.Settled() && last.State != order.Placed, "Held": last.State == order.Held})
}

// tell makes happenings of an order's events. A call is sent right after its
// intent; each event's look log repeats the earlier ones, which count once.
func tell(events []operator.Event) []happening {
	var out []happening
	looks, conflicts := map[string]bool{}, map[string]bool{}
	attempt := 0
	for _, e := range events {
		text := ""
		if e.Error != nil {
			text = join(e.Error.Kind, e.Error.Code, e.Error.Message)
		}
		text = join(text, e.Reason)
		if e.State == order.Waiting && e.WaitingFor != "" {
			text = join("waits for "+words(e.WaitingFor), text)
		}
		extra := "certainty " + words(e.Certainty)
		if e.Evidence != "" {
			extra += ", by " + words(e.Evidence)
		}
		if e.NotBefore != nil && e.State == order.Waiting {
			extra += ", not before " + utc(e.NotBefore)
		}
		out = append(out, happening{At: e.At, Kind: kindStep, What: string(e.State), Tone: tone(e.State), Text: text, Extra: extra})
		if e.Attempt > attempt && e.LastSentAt != nil {
			attempt = e.Attempt
			out = append(out, happening{At: *e.LastSentAt, Kind: kindCall, What: fmt.Sprintf("call %d", e.Attempt), Tone: "calm", Text: "sent to " + e.Supplier, Extra: join("request id", e.SupplierRequestID)})
		}
		for _, l := range e.LookLog {
			key := l.At.String() + l.Where
			if !looks[key] {
				looks[key] = true
				out = append(out, happening{At: l.At, Kind: kindLook, What: l.Where, Tone: lookTone(l.Said), Text: words(l.Said)})
			}
		}
		for _, c := range e.Conflicts {
			key := fmt.Sprint(c)
			if !conflicts[key] {
				conflicts[key] = true
				out = append(out, happening{At: c.At, Kind: kindConflict, What: words(c.Evidence), Tone: "bad",
					Text: join("says", words(c.Certainty), c.StateThere), Extra: join(c.SupplierOrderID, c.Reason)})
			}
		}
	}
	return out
}

func lookTone(said string) string {
	switch said {
	case "found":
		return "good"
	case "not_found":
		return "plain"
	}
	return "warn"
}

func join(parts ...string) string {
	out := ""
	for _, p := range parts {
		if p != "" && out != "" {
			out += " "
		}
		out += p
	}
	return out
}
