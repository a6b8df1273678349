// Command bench measures simline against a floor or a peer, in one run and in
// alternating rounds, and prints the medians. `make bench` runs it; arguments
// name the benchmarks to run, all of them by default. It writes
// bench/latest.json.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Result is one benchmark's figure beside what it was measured against.
type Result struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Against string  `json:"against"` // what Ratio divides by, with its own figure
	Ratio   float64 `json:"ratio"`
}

// suite is a benchmark by name; it may give several results.
type suite struct {
	name string
	run  func(ctx context.Context) ([]Result, error)
}

// long takes many minutes, and runs when it is named only.
var long = []suite{{"recon_large", reconLarge}}

var suites = []suite{
	{"orders", ordersBench},
	{"orders_open", ordersOpen},
	{"ingest", ingestBench},
	{"archiver", archiverBench},
	{"recon_calls", reconCalls},
	{"recon_compare", reconCompare},
	{"cdr", cdrLoad},
	{"cdr_decode", cdrDecode},
	{"cdr_memory", cdrMemory},
	{"cdr_year", cdrYear},
	{"console", consoleBench},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	var all []Result
	wanted := suites
	if len(names) > 0 {
		wanted = slices.DeleteFunc(slices.Concat(suites, long), func(s suite) bool { return !slices.Contains(names, s.name) })
	}
	for _, s := range wanted {
		begin := time.Now()
		fmt.Fprintf(os.Stderr, "bench: %s …\n", s.name)
		results, err := s.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", s.name, time.Since(begin).Round(time.Second))
		all = append(all, results...)
	}
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.AppendHeader(table.Row{"name", "value", "unit", "against", "ratio"})
	for _, r := range all {
		t.AppendRow(table.Row{r.Name, fmt.Sprintf("%.4g", r.Value), r.Unit, r.Against, fmt.Sprintf("%.2f", r.Ratio)})
	}
	t.Render()
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile("bench/latest.json", append(b, '\n'), 0o644)
}

// median of an odd or even number of figures; 0 for none.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// figure writes a floor's own figure for Against.
func figure(what string, value float64, unit string) string {
	return strings.TrimSpace(fmt.Sprintf("%s (%.4g %s)", what, value, unit))
}
