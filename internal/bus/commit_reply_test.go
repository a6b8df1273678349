package bus_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

// replies sees on which subjects the events of ORDER_EVENTS are answered.
func replies(t *testing.T, b *bus.Bus) func() string {
	t.Helper()
	sub, err := b.NC.SubscribeSync("orders.v1.event.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.NC.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return m.Reply
	}
}

// The subject of an answer serves the next message, if both have an id and the first
// was stored.
func TestCommitterUsesReplySubjectsAgain(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	reply, c := replies(t, b), committer(t, b, bus.CommitOptions{})
	publish := func(msg *nats.Msg) string {
		t.Helper()
		if _, err := c.Publish(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
		return reply()
	}
	plain := func(id string) *nats.Msg { return bus.NewMsg(bus.SubjectOrderEvent(id, "eiotclub", "intent"), "", nil) }
	named := func(id, msgID string) *nats.Msg {
		return bus.NewMsg(bus.SubjectOrderEvent(id, "eiotclub", "intent"), msgID, nil)
	}
	expects := bus.NewMsg(bus.SubjectOrderEvent("o3", "eiotclub", "intent"), "", nil)
	bus.Expect(expects, bus.SubjectOrderHistory("o3"), 0)
	first := publish(named("o1", "m1"))
	if again := publish(named("o2", "m2")); again != first {
		t.Errorf("answered on %s, want %s again", again, first)
	}
	// What may be stored twice, or would conflict with itself if it is asked again,
	// neither takes a subject nor leaves one.
	seen := map[string]bool{first: true}
	for _, msg := range []*nats.Msg{plain("o4"), expects, plain("o5")} {
		next := publish(msg)
		if seen[next] {
			t.Errorf("%s without an id: answered on %s, want a new one", msg.Subject, next)
		}
		seen[next] = true
	}
	// Nor is a subject used again on which something else was said.
	if dup := publish(named("o1", "m1")); dup != first {
		t.Errorf("a duplicate: sent for an answer on %s, want %s", dup, first)
	}
	var fresh string // on which it is asked again, and the server says the same
	if fresh = reply(); fresh == first {
		t.Errorf("a duplicate: asked again on %s", fresh)
	}
	if next := publish(named("o6", "m6")); next == first || next == fresh {
		t.Errorf("after a duplicate: answered on %s, want a new one", next)
	}
}

// What is said twice of one message is not believed of the next.
func TestCommitterDoesNotTakeAnothersAnswer(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	watch := s.Provision(bus.DefaultSettings())
	reply := replies(t, watch)
	b := s.Connect(s.Gated())
	c := committer(t, b, bus.CommitOptions{})
	status := nats.NewMsg("")
	status.Header.Set("Status", "503")
	for i, stale := range []*nats.Msg{
		{}, // what was said of the first, once more, as a new leader may
		{Data: []byte(`{"stream":"ORDER_EVENTS","seq":1,"duplicate": true}`)},
		{Data: []byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"ORDER_EVENTS","seq":0}`)},
		{Data: []byte(`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"},"stream":"ORDER_EVENTS","seq":0}`)},
		{Data: []byte(`nonsense`)},
		status,
	} {
		id := fmt.Sprint("o", i)
		first, err := c.Publish(t.Context(), bus.NewMsg(bus.SubjectOrderEvent(id, "eiotclub", "intent"), "first-"+id, nil))
		if err != nil {
			t.Fatal(err)
		}
		stale.Subject = reply()
		if i == 0 {
			stale.Data = fmt.Appendf(nil, `{"stream":"ORDER_EVENTS","seq":%d}`, first.Sequence)
		}
		s.Pause()
		before := b.NC.Stats().OutMsgs
		type result struct {
			ack bus.Ack
			err error
		}
		done := make(chan result, 1)
		go func() {
			ack, err := c.Publish(t.Context(), bus.NewMsg(bus.SubjectOrderEvent(id, "eiotclub", "placed"), "second-"+id, nil))
			done <- result{ack, err}
		}()
		for b.NC.Stats().OutMsgs == before {
			<-time.After(time.Millisecond)
		}
		if err := watch.NC.PublishMsg(stale); err != nil {
			t.Fatal(err)
		}
		if err := watch.NC.Flush(); err != nil { // it waits at the gate, before the true answer
			t.Fatal(err)
		}
		s.Resume()
		got := <-done
		m, found, err := watch.LastFromLeader(t.Context(), bus.StreamOrderEvents, bus.SubjectOrderHistory(id))
		if err != nil || !found {
			t.Fatal(found, err)
		}
		if got.err != nil || got.ack.Sequence != m.Sequence {
			t.Errorf("%s: told %+v, %v; it is number %d", stale.Data, got.ack, got.err, m.Sequence)
		}
		if used := reply(); used != stale.Subject {
			t.Fatalf("the second message was to be answered on %s, not where the first was, on %s", used, stale.Subject)
		}
		reply() // asked again
	}
}

// What is refused on a new subject was not stored. What is refused when it is asked
// again may be, by the first time, unless it met another write.
func TestCommitterDoubtsWhatIsRefusedWhenAskedAgain(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	c := committer(t, b, bus.CommitOptions{})
	answers := make(chan string, 4)
	if _, err := b.NC.Subscribe("nowhere.at.all", func(m *nats.Msg) {
		if m.Reply == "" {
			return // not the last of its batch
		}
		if err := m.Respond([]byte(<-answers)); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	msg := func(id string) *nats.Msg { return bus.NewMsg("nowhere.at.all", id, nil) }
	publish := func(answer ...string) error {
		for _, a := range answer {
			answers <- a
		}
		_, err := c.Publish(t.Context(), msg("id"))
		if left := len(answers); left > 0 {
			t.Fatalf("%q: asked %d times too few", answer, left)
		}
		return err
	}
	const (
		stored   = `{"stream":"S","seq":7}`
		later    = `{"stream":"S","seq":8}`
		conflict = `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"S","seq":0}`
		inHand   = `{"error":{"code":409,"err_code":10158,"description":"duplicate message id is in process"},"stream":"S","seq":0}`
	)
	if err := publish(inHand); err == nil || errors.Is(err, bus.ErrOutcomeUnknown) {
		t.Errorf("refused on a new subject: %v, want certainly not stored", err)
	}
	for _, first := range []string{stored, conflict, inHand} {
		if err := publish(stored); err != nil { // and leaves its subject
			t.Fatal(err)
		}
		if err := publish(first, inHand); !errors.Is(err, bus.ErrOutcomeUnknown) {
			t.Errorf("%s, then in hand: %v, want unknown", first, err)
		}
	}
	before := b.NC.Stats().OutMsgs
	both := make(chan []error, 1)
	go func() { both <- c.PublishAll(t.Context(), []*nats.Msg{msg("one"), msg("two")}) }()
	for b.NC.Stats().OutMsgs < before+2 {
		<-time.After(time.Millisecond)
	}
	answers <- stored
	answers <- stored
	if err := errors.Join(<-both...); err != nil {
		t.Fatal(err)
	}
	if err := publish(later); err != nil {
		t.Errorf("a greater number where another was: %v", err)
	}
	// Of two subjects that are free now, one is lost, and the other not asked on again.
	if err := publish(conflict, conflict); !errors.Is(err, bus.ErrConflict) || errors.Is(err, bus.ErrOutcomeUnknown) {
		t.Errorf("a conflict twice: %v, want certainly not stored", err)
	}
	// Nothing of a batch that was refused is stored.
	c = committer(t, b, bus.CommitOptions{MinBatch: 2})
	for range 3 {
		answers <- inHand
	}
	for _, err := range c.PublishAll(t.Context(), []*nats.Msg{msg("one"), msg("two")}) {
		if err == nil || errors.Is(err, bus.ErrOutcomeUnknown) {
			t.Errorf("refused in a batch, then alone: %v, want certainly not stored", err)
		}
	}
}
