package orderer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/simline/simline/internal/sim/fault"
)

// chaosSeeds is how many random runs TestChaos makes: CHAOS_SEEDS, or by default
// so many that make test stays quick. CHAOS_SEED repeats one of them.
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
	n = 6_000 // beside the fault table's 5,100
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
	ops := []string{"append intent", "place", "append placed", "append fulfilled", "append unknown", "append waiting", "guard", "claim", "unguard", "look", "ack", "get"}
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
