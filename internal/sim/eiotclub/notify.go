package eiotclub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/simline/simline/internal/sim/fault"
)

// Events are the 20 kinds of notification in seed 002, sections 异步通知 and CloudESIM异步通知 (D).
var Events = []string{
	"FlowAlert", "SubPkgList", "PkgEffective", "Refund", "PkgQuantityList", "CardStopped", "SwitchProduct",
	"CardIMEILocked", "IMEIUnLock", "CardMovedOutIMEIPool", "CardMovedInIMEIPool",
	"CloudESimFlowAlert", "CloudESimSubPkgList", "CloudESimPkgActivate", "CloudESimRefund", "CloudESimPkgDeactivate",
	"CloudESimCardStopped", "CloudESimSwitchProduct", "CloudESimLocked", "CloudESimUnLock",
}

// Notification is one notification and what became of it.
type Notification struct {
	ID         string    `json:"id"`
	Event      string    `json:"event"`
	OutTradeNo string    `json:"out_trade_no,omitempty"`
	OrderID    string    `json:"order_id,omitempty"`
	Card       string    `json:"card,omitempty"`
	MadeAt     time.Time `json:"made_at"`
	Sends      int       `json:"sends"`    // POSTs that were tried
	Accepted   int       `json:"accepted"` // of them answered {"status":"SUCCESS"}
	Status     int       `json:"status,omitempty"`
	Error      string    `json:"error,omitempty"`
	Faults     []string  `json:"faults,omitempty"`
	Body       string    `json:"body"`
}

// Subject says what a notification is about; which fields matter depends on the event.
type Subject struct {
	ICCID       string `json:"iccid,omitempty"`
	EID         string `json:"eid,omitempty"`
	Order       string `json:"order,omitempty"` // any id of an order in the book
	AlertType   int    `json:"alert_type,omitempty"`
	AlertValue  string `json:"alert_value,omitempty"`
	ProductCode string `json:"product_code,omitempty"`
	PoolGroup   int    `json:"plock_group_id,omitempty"`
	BadSign     bool   `json:"bad_sign,omitempty"` // signed with another secret
}

// notifier posts notifications in the order in which they were made, one at a time unless configured otherwise.
type notifier struct {
	s      *Sim
	client *http.Client

	mu    sync.Mutex
	rng   *rand.Rand
	all   []*Notification
	queue []*Notification
	held  []*Notification // out of order: they wait for the next one
	late  int             // with their timers running
	busy  int
	wake  chan struct{}
	idle  *sync.Cond
	wg    sync.WaitGroup
}

// retryPause is between two tries of one notification, for a receiver that is being restarted.
const retryPause = 200 * time.Millisecond

func newNotifier(s *Sim) *notifier {
	n := &notifier{s: s, rng: rand.New(rand.NewPCG(s.cfg.Seed, 0x407e)), wake: make(chan struct{}, s.cfg.NotifyAtOnce)}
	n.idle = sync.NewCond(&n.mu)
	n.client = &http.Client{
		Timeout:       s.cfg.NotifyTimeout,
		Transport:     &http.Transport{MaxIdleConnsPerHost: s.cfg.NotifyAtOnce},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if s.cfg.WebhookURL != "" {
		for range s.cfg.NotifyAtOnce {
			n.wg.Go(n.run)
		}
	}
	return n
}

func (n *notifier) close() {
	n.wg.Wait()
	n.client.CloseIdleConnections()
}

// field is one member of a notification's body: the JSON value and the text that gets signed.
type field struct{ name, json, text string }

func textField(name, v string) field {
	b, _ := json.Marshal(v) // a string always encodes
	return field{name, string(b), v}
}

func intField(name string, v int64) field {
	t := strconv.FormatInt(v, 10)
	return field{name, t, t}
}

// dataField carries data as a JSON string, as in the documents' examples, or nested, as in their schemas. Signed is in
// both cases the JSON text (for the nested form I: no document or vector says what is signed).
func (n *notifier) dataField(v any) field {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.Encode(v) // plain structs always encode
	t := strings.TrimSpace(buf.String())
	if n.s.cfg.NestedData {
		return field{"data", t, t}
	}
	return textField("data", t)
}

// body puts the common fields around an event's own, signs without appkey (D: 接收回调通知的签名计算不需要加入appkey)
// and writes the members by name.
func (n *notifier) body(id, event string, now time.Time, badSign bool, fields []field) string {
	nonce := intField("nonce", int64(10000+n.rng.IntN(90000)))
	if strings.HasPrefix(event, "CardMoved") { // D: nonce is a string in these two
		nonce = textField("nonce", nonce.text)
	}
	fields = append(fields, textField("event", event), textField("id", id), nonce, intField("timestamp", now.Unix()))
	signed := make(map[string]string, len(fields))
	for _, f := range fields {
		signed[f.name] = f.text
	}
	secret := n.s.cfg.Secret
	if badSign {
		secret += "-wrong"
	}
	fields = append(fields, textField("sign", Sign(signed, secret)))
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	for i, f := range fields {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		fmt.Fprintf(&b, "%q:%s", f.name, f.json)
	}
	b.WriteByte('}')
	return b.String()
}

const idAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// add makes a notification and queues it under the rules that meet it.
func (n *notifier) add(event string, now time.Time, o *Order, card string, badSign bool, fields ...field) *Notification {
	if n.s.cfg.WebhookURL == "" {
		return nil
	}
	note := &Notification{Event: event, Card: card, MadeAt: now}
	if o != nil {
		note.OutTradeNo, note.OrderID, note.Card = o.OutTradeNo, o.ID(), o.ICCID+o.EID
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	id := make([]byte, 24)
	for i := range id {
		id[i] = idAlphabet[n.rng.IntN(len(idAlphabet))]
	}
	note.ID = string(id)
	note.Body = n.body(note.ID, event, now, badSign, fields)
	n.all = append(n.all, note)
	rules := n.s.faults.Take(fault.Notify, event, note.OutTradeNo, note.OrderID, note.Card, note.ID)
	for _, r := range rules {
		note.Faults = append(note.Faults, string(r.Kind))
	}
	if _, never := fault.Has(rules, fault.NotifyNever); never {
		return note
	}
	if _, reorder := fault.Has(rules, fault.NotifyReorder); reorder {
		n.held = append(n.held, note)
		return note
	}
	if late, ok := fault.Has(rules, fault.NotifyLate); ok {
		n.late++
		time.AfterFunc(time.Duration(late.Delay), func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.late--
			n.push(note)
		})
		return note
	}
	n.push(note)
	if _, twice := fault.Has(rules, fault.NotifyTwice); twice {
		n.push(note)
	}
	for _, h := range n.held {
		n.push(h)
	}
	n.held = nil
	return note
}

func (n *notifier) push(note *Notification) {
	n.queue = append(n.queue, note)
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *notifier) run() {
	for {
		n.mu.Lock()
		if len(n.queue) == 0 {
			n.idle.Broadcast()
			n.mu.Unlock()
			select {
			case <-n.s.ctx.Done():
				return
			case <-n.wake:
				continue
			}
		}
		note := n.queue[0]
		n.queue = n.queue[1:]
		n.busy++
		n.mu.Unlock()
		for try := 0; ; try++ {
			accepted := n.post(note)
			if accepted || try >= n.s.cfg.NotifyRetries || n.s.ctx.Err() != nil {
				break
			}
			fault.Sleep(n.s.ctx, retryPause)
		}
		if n.s.cfg.NotifyDelay > 0 {
			fault.Sleep(n.s.ctx, n.s.cfg.NotifyDelay)
		}
		n.mu.Lock()
		n.busy--
		n.idle.Broadcast()
		n.mu.Unlock()
		if n.s.ctx.Err() != nil {
			return
		}
	}
}

// post sends one notification. D: the receiver answers {"status":"SUCCESS"}; no repeat is documented.
func (n *notifier) post(note *Notification) bool {
	req, err := http.NewRequestWithContext(n.s.ctx, http.MethodPost, n.s.cfg.WebhookURL, strings.NewReader(note.Body))
	status, accepted := 0, false
	if err == nil {
		req.Header.Set("Content-Type", "application/json;charset=utf-8")
		var resp *http.Response
		if resp, err = n.client.Do(req); err == nil {
			var b []byte
			b, err = io.ReadAll(io.LimitReader(resp.Body, 1<<16))
			resp.Body.Close()
			var a struct{ Status string }
			status = resp.StatusCode
			accepted = err == nil && status == http.StatusOK && json.Unmarshal(b, &a) == nil && a.Status == "SUCCESS"
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	note.Sends++
	note.Status, note.Error = status, ""
	if err != nil {
		note.Error = err.Error()
		n.s.cfg.Logger.Debug("notification not delivered", "event", note.Event, "id", note.ID, "err", err)
	}
	if accepted {
		note.Accepted++
	}
	return accepted
}

// Release lets go what a notify_reorder rule still holds because no later notification came.
func (s *Sim) Release() {
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	for _, h := range s.notes.held {
		s.notes.push(h)
	}
	s.notes.held = nil
}

// Resend queues a notification once more, byte for byte; it reports whether the id is known.
func (s *Sim) Resend(id string) bool {
	n := s.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, note := range n.all {
		if note.ID == id {
			n.push(note)
			return true
		}
	}
	return false
}

// WaitNotified returns when every notification made so far, late ones included, has been posted, or with the
// context's error.
func (s *Sim) WaitNotified(ctx context.Context) error {
	n := s.notes
	stop := context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.idle.Broadcast()
	})
	defer stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.queue)+n.busy+n.late > 0 {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%d notifications are still under way: %w", len(n.queue)+n.busy+n.late, err)
		}
		n.idle.Wait()
	}
	return nil
}

// Notifications returns a copy of all notifications made, in order.
func (s *Sim) Notifications() []Notification {
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	out := make([]Notification, len(s.notes.all))
	for i, n := range s.notes.all {
		out[i] = *n
	}
	return out
}
