package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

func committer(t testing.TB, b *bus.Bus, opts bus.CommitOptions) *bus.Committer {
	t.Helper()
	c, err := bus.NewCommitter(b, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func eventMsg(id, state, msgID string, expect uint64) *nats.Msg {
	m := bus.NewMsg(bus.SubjectOrderEvent(id, "eiotclub", state), msgID, []byte(`{"id":"`+id+`"}`))
	bus.Expect(m, bus.SubjectOrderHistory(id), expect)
	return m
}

func TestCommitterStoresEachMessageOnceAndTellsItsSequence(t *testing.T) {
	for _, sync := range []bool{false, true} {
		t.Run(fmt.Sprintf("syncAlways=%t", sync), func(t *testing.T) {
			_, b := bustest.Provisioned(t, bustest.Options{SyncAlways: sync})
			c := committer(t, b, bus.CommitOptions{MinBatch: 2})
			const n = 500
			seqs := make([]uint64, n)
			all(n, func(i int) {
				ack, err := c.Publish(t.Context(), eventMsg(fmt.Sprint("o", i), "intent", fmt.Sprint("id", i), 0))
				if err != nil {
					t.Error(err)
				}
				seqs[i] = ack.Sequence
			})
			stream, err := b.JS.Stream(t.Context(), bus.StreamOrderEvents)
			if err != nil {
				t.Fatal(err)
			}
			if got := stream.CachedInfo().State.Msgs; got != n {
				t.Fatalf("%d messages stored, want %d", got, n)
			}
			batched := 0
			for i, seq := range seqs {
				m, err := stream.GetMsg(t.Context(), seq)
				if err != nil {
					t.Fatal(err)
				}
				if want := bus.SubjectOrderEvent(fmt.Sprint("o", i), "eiotclub", "intent"); m.Subject != want {
					t.Fatalf("sequence %d is %s, want %s", seq, m.Subject, want)
				}
				if m.Header.Get("Nats-Batch-Id") != "" {
					batched++
				}
			}
			if batched < n/2 {
				t.Errorf("only %d of %d messages went in batches", batched, n)
			}
		})
	}
}

// all runs f for 0..n-1 at once and waits.
func all(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func TestCommitterRefusedMembersDoNotHarmTheOthers(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	c := committer(t, b, bus.CommitOptions{MinBatch: 2})
	if _, err := c.Publish(t.Context(), eventMsg("taken", "intent", "first", 0)); err != nil {
		t.Fatal(err)
	}
	const n = 60
	all(n, func(i int) {
		switch i % 3 {
		case 0:
			if _, err := c.Publish(t.Context(), eventMsg(fmt.Sprint("new", i), "intent", fmt.Sprint("new", i), 0)); err != nil {
				t.Errorf("a sound member: %v", err)
			}
		case 1:
			_, err := c.Publish(t.Context(), eventMsg("taken", "placed", fmt.Sprint("late", i), 0))
			if !errors.Is(err, bus.ErrConflict) {
				t.Errorf("a second first event: %v, want a conflict", err)
			}
		case 2:
			ack, err := c.Publish(t.Context(), bus.NewMsg(bus.SubjectOrderEvent("taken", "eiotclub", "intent"), "first", nil))
			if err != nil || !ack.Duplicate {
				t.Errorf("a known message id: %+v, %v", ack, err)
			}
		}
	})
}

// The server lets two messages of one batch pass that expect the same last
// sequence of one filter: the committer must not give it such a batch.
func TestCommitterLetsOnlyOneOfTwoEqualExpectationsWin(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	c := committer(t, b, bus.CommitOptions{MinBatch: 2})
	for round := range 50 {
		id := fmt.Sprint("o", round)
		var mu sync.Mutex
		won := 0
		all(8, func(i int) {
			state := []string{"intent", "waiting"}[i%2]
			_, err := c.Publish(t.Context(), eventMsg(id, state, fmt.Sprint(id, i), 0))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, bus.ErrConflict):
				t.Error(err)
			}
		})
		if won != 1 {
			t.Fatalf("round %d: %d writers won", round, won)
		}
	}
}

func TestCommitterTellsUnknownFromNotSent(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	s.Provision(bus.DefaultSettings())
	b := s.Connect(s.Gated())
	c := committer(t, b, bus.CommitOptions{MinBatch: 2, MaxBatch: 4})
	s.Pause()
	short, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	before := b.NC.Stats().OutMsgs
	go func() { // once something has left
		for short.Err() == nil && b.NC.Stats().OutMsgs == before {
			<-time.After(time.Millisecond)
		}
		giveUp()
	}()
	const n = 200
	var mu sync.Mutex
	unknown, notSent := 0, 0
	all(n, func(i int) {
		_, err := c.Publish(short, eventMsg(fmt.Sprint("o", i), "intent", fmt.Sprint(i), 0))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			t.Errorf("message %d: acknowledged through a closed gate", i)
		case errors.Is(err, bus.ErrOutcomeUnknown):
			unknown++
		default:
			notSent++
		}
	})
	s.Resume()
	if unknown == 0 || notSent == 0 {
		t.Errorf("%d unknown and %d not sent, want some of both", unknown, notSent)
	}
	// What had left is stored; what had not stays away.
	if _, err := c.Publish(t.Context(), eventMsg("last", "intent", "last", 0)); err != nil {
		t.Fatal(err)
	}
	stream, err := b.JS.Stream(t.Context(), bus.StreamOrderEvents)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != uint64(unknown)+1 {
		t.Errorf("%d messages stored, want %d", got, unknown+1)
	}
}

func TestCommitterFailsAtOnceWhenNoStreamTakesIt(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	c := committer(t, b, bus.CommitOptions{})
	_, err := c.Publish(t.Context(), bus.NewMsg("nowhere.at.all", "", nil))
	if !errors.Is(err, nats.ErrNoResponders) {
		t.Fatalf("%v, want no responders", err)
	}
	c.Close()
	if _, err := c.Publish(t.Context(), eventMsg("o", "intent", "", 0)); err == nil || errors.Is(err, bus.ErrOutcomeUnknown) {
		t.Fatalf("publish on a closed committer: %v, want a certain refusal", err)
	}
}

// What was gathered already leaves at once, and is told from what is unknown as any
// other message is.
func TestCommitterPublishesAtOnce(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	s.Provision(bus.DefaultSettings())
	b := s.Connect(s.Gated())
	c := committer(t, b, bus.CommitOptions{MinBatch: 2})
	once := func(ctx context.Context, id string) (bus.Ack, error) {
		return c.PublishAtOnce(ctx, eventMsg(id, "intent", id, 0))
	}
	if ack, err := once(t.Context(), "first"); err != nil || ack.Sequence != 1 {
		t.Fatalf("%+v, %v", ack, err)
	}
	// left gives ctx up once so many messages have left, or the only one has queued up.
	left := func(n uint64) context.Context {
		ctx, giveUp := context.WithCancel(t.Context())
		before := b.NC.Stats().OutMsgs
		go func() {
			for t.Context().Err() == nil && b.NC.Stats().OutMsgs < before+n {
				<-time.After(time.Millisecond)
			}
			giveUp()
		}()
		return ctx
	}
	s.Pause()
	if _, err := once(left(1), "alone"); !errors.Is(err, bus.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("sent and not answered: %v, want unknown", err)
	}
	batch := left(2)
	done := make(chan []error, 1)
	go func() {
		done <- c.PublishAll(batch, []*nats.Msg{eventMsg("b1", "intent", "b1", 0), eventMsg("b2", "intent", "b2", 0)})
	}()
	<-batch.Done()
	if _, err := once(left(0), "behind"); err == nil || errors.Is(err, bus.ErrOutcomeUnknown) {
		t.Errorf("given up behind a batch: %v, want certainly not sent", err)
	}
	for _, err := range <-done {
		if !errors.Is(err, bus.ErrOutcomeUnknown) {
			t.Errorf("a batch that nobody answered: %v, want unknown", err)
		}
	}
	s.Resume()
	// What had left is stored, and what had not is not.
	if ack, err := once(t.Context(), "last"); err != nil || ack.Sequence != 5 {
		t.Errorf("%+v, %v, want number 5", ack, err)
	}
	c.Close()
	if _, err := once(t.Context(), "late"); err == nil || errors.Is(err, bus.ErrOutcomeUnknown) {
		t.Errorf("on a closed committer: %v, want a certain refusal", err)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, sync := range []bool{false, true} {
		_, bb := bustest.Provisioned(b, bustest.Options{SyncAlways: sync})
		body := make([]byte, 1200)
		run := func(name string, publish func(context.Context, *nats.Msg) (bus.Ack, error)) {
			b.Run(fmt.Sprintf("syncAlways=%t/%s", sync, name), func(b *testing.B) {
				b.SetParallelism(96)
				var mu sync_
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						id := mu.next(name)
						m := eventMsg(id, "intent", id, 0)
						m.Data = body
						if _, err := publish(context.Background(), m); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
		run("single", bb.Publish)
		run("committer", committer(b, bb, bus.CommitOptions{}).Publish)
		run("batches", committer(b, bb, bus.CommitOptions{MinBatch: 2}).Publish)
	}
}

type sync_ struct {
	sync.Mutex
	n int
}

var benchRun int

func (s *sync_) next(name string) string {
	s.Lock()
	defer s.Unlock()
	if s.n == 0 {
		benchRun++
	}
	s.n++
	return fmt.Sprintf("%s-%d-%d", name, benchRun, s.n)
}
