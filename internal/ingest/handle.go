package ingest

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/simline/simline/internal/supplier/eiotclub"
)

// intake is what one request works with; it is reused.
type intake struct {
	scan    eiotclub.Scanner
	body    []byte
	own     []byte   // for bodies that are not at hand yet
	msg     *message // nil if the last one may still be held by somebody
	charged int64    // bytes taken from the memory budget
	detail  string   // for /rejected
}

// ServeHTTP answers one notification that net/http has read.
func (w *Worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	answer(rw, w.serve(requestOf(r), time.Now()))
}

// serve takes one notification and says why not, if it does not.
func (w *Worker) serve(req *request, start time.Time) error {
	in := w.intakes.Get().(*intake)
	defer w.release(in)
	acct, err := w.handle(in, req, start)
	if err != nil {
		w.refused(acct, in, req, err)
	}
	w.m.took(start)
	return err
}

// release makes an intake ready for the next request.
func (w *Worker) release(in *intake) {
	w.memory.give(in.charged)
	in.body, in.own, in.charged, in.detail = nil, in.own[:0], 0, ""
	if cap(in.own) > smallBody {
		in.own, in.msg = nil, nil
	}
	w.intakes.Put(in)
}

// handle is ingest's line: request → verify → name the event → publish → stored
// durably. SUCCESS is answered only if it returns nil.
func (w *Worker) handle(in *intake, req *request, now time.Time) (*account, error) {
	acct, err := w.admit(req)
	if err != nil {
		return acct, err
	}
	if err := in.read(req, &w.memory); err != nil {
		return acct, err
	}
	if err := in.scan.Scan(in.body); err != nil {
		in.detail = err.Error()
		return acct, errMalformed
	}
	if err := acct.verifier.Verify(&in.scan); err != nil {
		if errors.Is(err, eiotclub.ErrNoSignature) {
			return acct, errUnsigned
		}
		return acct, errSignature
	}
	if err := w.enter(); err != nil {
		return acct, err
	}
	defer w.leave()

	route := w.routeOf(acct, in.scan.Text("event"))
	msg := in.msg
	if in.msg = nil; msg == nil {
		msg = new(message)
	}
	parent, span := w.traced(req.trace, acct, route)
	defer span.End()
	msg.fill(route, messageID(acct, &in.scan), parent, now, in.scan.Body())
	if why := w.stale(in.scan.Text("timestamp"), now); why != nil {
		msg = staleLetter(msg, why)
		w.log.Warn("notification set apart", "subject", route.subject, "cause", why)
	}
	free, err := w.store(msg)
	if err != nil {
		// If we die here: nothing was answered, so the sender knows that it was not
		// taken; whether NATS has it all the same does not matter, it goes by its id.
		return acct, err
	}
	// If we die here: it is stored and will be handled; the sender, unanswered,
	// may send it again, and the repeat is known by its id.
	route.taken.Inc()
	if free {
		in.msg = msg
	}
	return acct, nil
}

// stale says why a well signed notification may be a replay: its time is too far
// from ours, or is not to be read, so that it would be good for ever.
func (w *Worker) stale(timestamp []byte, now time.Time) error {
	at, ok := eiotclub.ParseTimestamp(string(timestamp))
	if !ok {
		return errors.New("its timestamp cannot be read")
	}
	if age := now.Sub(at).Truncate(time.Second); age > w.cfg.MaxAge || age < -w.cfg.MaxAge {
		return fmt.Errorf("its timestamp is %s old, the limit is %s", age, w.cfg.MaxAge)
	}
	return nil
}

// refused makes a refusal visible: a counter by reason and the last thousand on
// the admin port.
func (w *Worker) refused(acct *account, in *intake, req *request, err error) {
	why := refusalOf(err)
	w.m.refused[why].Inc()
	if err != error(why) {
		in.detail = err.Error()
	}
	rec := Rejected{At: time.Now().UTC(), Reason: why.reason, Status: why.status, Method: shorten(req.method, 16),
		Sender: network(w.sender(req)), Bytes: len(in.body), Detail: in.detail}
	if acct != nil {
		rec.Account = acct.supplier + "/" + acct.name
		rec.Body = redact(in.body)
	}
	w.rejected.add(rec)
	if w.logLimit.Allow() {
		w.log.Warn("notification refused", "reason", why.reason, "status", why.status, "account", rec.Account, "sender", rec.Sender, "detail", in.detail)
	}
}

func shorten(s string, n int) string {
	if len(s) > n {
		return fmt.Sprintf("%.*s…", n, s)
	}
	return s
}
