package bus_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/simline/simline/internal/bus"
)

// scripted is a server on which a test plays the stream.
func scripted(t *testing.T) (b *bus.Bus, next func() *nats.Msg) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if b, err = bus.Connect(bus.Config{URL: s.ClientURL()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	stream, err := b.NC.SubscribeSync("events")
	if err != nil {
		t.Fatal(err)
	}
	return b, func() *nats.Msg {
		m, err := stream.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
}

// A subject that was answered on is used again. What the server says on it twice, as
// two leaders may, must not pass for the answer to the next message; and one that was
// answered in any other way than plainly is not used again.
func TestCommitterTellsAnEchoFromAnAnswer(t *testing.T) {
	b, next := scripted(t)
	c, err := bus.NewCommitter(b, bus.CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	type result struct {
		ack bus.Ack
		err error
	}
	publish := func() chan result {
		done := make(chan result, 1)
		go func() {
			ack, err := c.Publish(t.Context(), &nats.Msg{Subject: "events", Data: []byte("x")})
			done <- result{ack, err}
		}()
		return done
	}
	say := func(m *nats.Msg, format string, args ...any) {
		t.Helper()
		if err := m.Respond(fmt.Appendf(nil, format, args...)); err != nil {
			t.Fatal(err)
		}
	}
	const plain, duplicate = `{"stream":"S","seq":%d}`, `{"stream":"S","seq":%d,"duplicate": true}`

	first := publish()
	m := next()
	reply := m.Reply
	say(m, plain, 7)
	if r := <-first; r.err != nil || r.ack.Sequence != 7 {
		t.Fatalf("the first: %+v", r)
	}

	second := publish()
	if m = next(); m.Reply != reply {
		t.Fatalf("answered on %s, then on %s: the subject is not used again", reply, m.Reply)
	}
	say(m, plain, 7)     // the first leader's word, by the second
	say(m, plain, 6)     // older still
	say(m, duplicate, 7) // and in other words
	say(m, plain, 9)
	if r := <-second; r.err != nil || r.ack.Sequence != 9 || r.ack.Duplicate {
		t.Fatalf("the second: %+v", r)
	}

	third := publish() // which was stored long ago
	m = next()
	say(m, duplicate, 3)
	if r := <-third; r.err != nil || r.ack.Sequence != 3 || !r.ack.Duplicate {
		t.Fatalf("the third: %+v", r)
	}

	fourth := publish()
	if m = next(); m.Reply == reply {
		t.Fatal("a subject that said duplicate is used again: its echo would say it of others")
	}
	reply = m.Reply
	say(m, `{"stream":"S","seq":0,"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"}}`)
	if r := <-fourth; !errors.Is(r.err, bus.ErrConflict) {
		t.Fatalf("the fourth: %+v", r)
	}
	publish()
	if m = next(); m.Reply == reply {
		t.Fatal("a subject that refused is used again: its echo would refuse others")
	}
}
