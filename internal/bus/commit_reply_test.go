package bus_test

import (
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
