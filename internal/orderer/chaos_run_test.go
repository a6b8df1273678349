package orderer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/sim/fault"
)

// chaosSeeds is how many random runs TestChaos makes: CHAOS_SEEDS, or by default
// as many as make test runs without the race detector. CHAOS_SEED repeats one of them.
func chaosSeeds(t *testing.T) (first uint64, n int) {
	number := func(name string, or int) int {
		v := os.Getenv(name)
		if v == "" {
			return or
		}
		i, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return i
	}
	if os.Getenv("CHAOS_SEED") != "" {
		return uint64(number("CHAOS_SEED", 0)), 1
	}
	n = 10_000
	if raceEnabled || testing.Short() {
		n = 300
	}
	return uint64(number("CHAOS_FIRST", 1)), number("CHAOS_SEEDS", n)
}

func TestChaos(t *testing.T) {
	first, n := chaosSeeds(t)
	l := newLab(t)
	l.all(n, func(i int) *run {
		seed := first + uint64(i)
		return l.newRun("chaos", seed, chaosPlan(seed), nil, -1)
	})
}

// Each durable step × what goes wrong with it × each fault of the supplier × each
// product, once.
func TestFaultTable(t *testing.T) {
	ops := []string{"append intent", "place", "append placed", "append fulfilled", "append unknown", "append waiting", "append held", "append rejected",
		"guard", "card lock", "claim", "unguard", "look", "ack", "get"}
	faults := append([]fault.Kind{""}, callFaults...)
	l := newLab(t)
	n := len(ops) * len(mishaps) * len(faults) * len(products)
	every := 1
	if raceEnabled || testing.Short() {
		every = 31 // a part of the table; the whole of it runs without the race detector
	}
	l.all(n/every, func(i int) *run {
		k := i * every
		seed := uint64(k)
		p := plan{op: ops[k%len(ops)]}
		k /= len(ops)
		p.how = mishaps[k%len(mishaps)]
		k /= len(mishaps)
		if f := faults[k%len(faults)]; f != "" {
			p.faults = []fault.Rule{labFault(f, rand.New(rand.NewPCG(seed, 1)))}
		}
		k /= len(faults)
		return l.newRun("table", seed, p, nil, k)
	})
	if n == 0 {
		t.Fatal(fmt.Errorf("an empty table"))
	}
}

// A seed repeats its run identically, in another lab and among other runs: every
// step, every mishap, every state. Only what the suppliers number as they go differs.
func TestChaosRepeats(t *testing.T) {
	const n = 100
	alone, crowd := newLab(t), newLab(t)
	trace := func(l *lab, seed uint64) string {
		r := l.newRun("chaos", seed, chaosPlan(seed), nil, -1)
		disarm := r.arm()
		r.run()
		disarm()
		return theirNumbers.ReplaceAllString(strings.Join(r.trace, "\n"), "#")
	}
	var mu sync.Mutex
	there := map[uint64]string{}
	crowd.until(n, func(i int) bool {
		text := trace(crowd, uint64(i)+1)
		mu.Lock()
		there[uint64(i)+1] = text
		mu.Unlock()
		return false
	})
	for seed := uint64(1); seed <= n; seed++ {
		if diff := cmp.Diff(strings.Split(there[seed], "\n"), strings.Split(trace(alone, seed), "\n")); diff != "" {
			t.Errorf("seed %d ran otherwise the second time (-first +second):\n%s", seed, diff)
		}
	}
}

// theirNumbers are what a supplier gives out in turn or at random, balances included,
// and addresses in memory.
var theirNumbers = regexp.MustCompile(`0x[0-9a-f]+|127\.0\.0\.1:\d+|order_[0-9]+_[a-z0-9]+|LPA:\S+|https?://\S+|[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{26,}\b|\b[0-9]{9,}\b|PENDING_\S+|Balance:[0-9.]+|has [0-9.]+, needs [0-9.]+`)
