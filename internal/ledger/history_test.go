package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

// A ledger is a register per order that is moved by compare-and-set. Writers that
// lose their connection for a while do not know whether they wrote: in the model
// such a write happened at some moment from its call on, or never.

type ledgerInput struct {
	id    string
	read  bool
	from  uint64 // sequence that the write follows
	token string // what it writes, unique
}

type ledgerOutput struct {
	result string // "ok", "moved", "unknown"; of a read: "ok"
	seq    uint64
	token  string
}

type ledgerState struct {
	seq   uint64 // 0: no event
	token string
	maybe bool // the sequence of an unknown write is not known until someone reads it
}

var ledgerModel = (&porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byID := map[string][]porcupine.Operation{}
		for _, op := range history {
			id := op.Input.(ledgerInput).id
			byID[id] = append(byID[id], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range byID {
			out = append(out, ops)
		}
		return out
	},
	Init: func() []any { return []any{ledgerState{}} },
	Step: func(state, input, output any) []any {
		s, in, out := state.(ledgerState), input.(ledgerInput), output.(ledgerOutput)
		if in.read {
			switch {
			case out.token != s.token:
				return nil
			case s.maybe:
				return []any{ledgerState{seq: out.seq, token: s.token}}
			case out.seq != s.seq:
				return nil
			}
			return []any{s}
		}
		follows := !s.maybe && s.seq == in.from
		switch out.result {
		case "ok":
			if follows {
				return []any{ledgerState{seq: out.seq, token: in.token}}
			}
			return nil
		case "moved":
			if !follows {
				return []any{s}
			}
			return nil
		}
		if follows {
			return []any{s, ledgerState{token: in.token, maybe: true}}
		}
		return []any{s}
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v -> %+v", input, output)
	},
}).ToModel()

func TestHistoriesUnderConcurrentWritersAreThoseOfARegister(t *testing.T) {
	const seed = 7
	s := bustest.Start(t, bustest.Options{})
	s.Provision(bus.DefaultSettings())
	const writers, steps, orders = 5, 40, 3
	begin := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	_ = s.Gated()
	// Who has a write under way when the connection is lost loses patience with it, and
	// nobody else: how many outcomes are unknown does not hang on the machine.
	var patience sync.Mutex
	underWay := map[int]context.CancelFunc{}
	lose := func() {
		patience.Lock()
		defer patience.Unlock()
		for _, giveUp := range underWay {
			giveUp()
		}
	}
	for client := range writers {
		url := s.URL()
		if client < 3 {
			url = s.Gated() // these lose their connection now and then
		}
		l, eyes := newLedger(t, s.Connect(url)), newLedger(t, s.Connect(s.URL()))
		rng := rand.New(rand.NewPCG(seed, uint64(client)))
		wg.Go(func() {
			for step := range steps {
				id := fmt.Sprint("o", rng.IntN(orders))
				note := func(in ledgerInput, from time.Duration, out ledgerOutput) {
					to := time.Since(begin)
					if out.result == "unknown" {
						to = time.Hour // it may come to be at any later moment
					}
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: int64(from), Output: out, Return: int64(to)})
					mu.Unlock()
				}
				at := time.Since(begin)
				ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
				cur, _, err := eyes.Get(ctx, id)
				cancel()
				if err != nil {
					continue // a read that was not answered says nothing
				}
				note(ledgerInput{id: id, read: true}, at, ledgerOutput{result: "ok", seq: cur.Seq, token: cur.Reason})
				next := record(id, order.Waiting)
				next.Reason = fmt.Sprintf("%d-%d", client, step)
				if cur.State == "" {
					cur = ledger.Entry{}
				}
				in := ledgerInput{id: id, from: cur.Seq, token: next.Reason}
				ctx, cancel = context.WithCancel(context.Background())
				if client < 3 {
					patience.Lock()
					underWay[client] = cancel
					patience.Unlock()
				}
				if client < 3 && rng.IntN(6) == 0 {
					s.Pause()
					time.AfterFunc(40*time.Millisecond, lose)
					time.AfterFunc(60*time.Millisecond, s.Resume)
				}
				at = time.Since(begin)
				e, err := l.Append(ctx, &cur, next)
				cancel()
				switch {
				case err == nil:
					note(in, at, ledgerOutput{result: "ok", seq: e.Seq})
				case errors.Is(err, ledger.ErrMoved) && !errors.Is(err, bus.ErrOutcomeUnknown): // else it may stand, behind another's
					note(in, at, ledgerOutput{result: "moved"})
				default:
					note(in, at, ledgerOutput{result: "unknown"})
				}
			}
		})
	}
	wg.Wait()
	s.Resume()
	unknown := 0
	for _, op := range history {
		if op.Output.(ledgerOutput).result == "unknown" {
			unknown++
		}
	}
	t.Logf("%d operations, %d of unknown outcome", len(history), unknown)
	if unknown == 0 {
		t.Error("no outcome was unknown: the gate did nothing")
	}
	if result := porcupine.CheckOperationsTimeout(ledgerModel, history, 30*time.Second); result != porcupine.Ok {
		t.Fatalf("seed %d: the history is %s", seed, result)
	}
}
