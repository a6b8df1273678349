package e2e

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/simline/simline/internal/order"
)

// View is what the live table shows.
type View struct {
	Since    time.Duration
	Orders   map[order.State]int
	Webhooks int64
	Files    int64
	Rows     int64
	Findings []string
	Workers  []WorkerView
	Where    []Address
	Example  string
}

// WorkerView is one worker's line.
type WorkerView struct {
	Name, Admin string
	Running     bool
	Peak        int64 // bytes
}

// Address is something a person may want to open.
type Address struct{ Name, Value string }

// Render draws the view; each call gives as many lines as it needs.
func (v View) Render() string {
	var b strings.Builder
	fmt.Fprintf(&b, "simline has been running for %s. Ctrl-C stops all of it.\n\n", v.Since.Round(time.Second))
	orders := table.NewWriter()
	orders.SetStyle(table.StyleLight)
	head, row := table.Row{}, table.Row{}
	total := 0
	for _, s := range order.States {
		head, row = append(head, string(s)), append(row, v.Orders[s])
		total += v.Orders[s]
	}
	orders.AppendHeader(append(table.Row{"orders"}, head...))
	orders.AppendRow(append(table.Row{total}, row...))
	b.WriteString(orders.Render() + "\n")

	lines := table.NewWriter()
	lines.SetStyle(table.StyleLight)
	lines.AppendHeader(table.Row{"webhooks", "CDR files", "CDR rows", "open findings"})
	lines.AppendRow(table.Row{v.Webhooks, v.Files, v.Rows, strings.Join(v.Findings, ", ")})
	b.WriteString(lines.Render() + "\n")

	workers := table.NewWriter()
	workers.SetStyle(table.StyleLight)
	workers.AppendHeader(table.Row{"worker", "health and metrics", "runs", "peak memory"})
	for _, w := range v.Workers {
		workers.AppendRow(table.Row{w.Name, w.Admin, w.Running, mebibytes(w.Peak)})
	}
	b.WriteString(workers.Render() + "\n")
	for _, a := range v.Where {
		fmt.Fprintf(&b, "%-17s %s\n", a.Name, a.Value)
	}
	fmt.Fprintf(&b, "\nTry this:\n%s\n", v.Example)
	return b.String()
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

// Screen redraws a view in place on a terminal, or prints nothing but the last
// one where there is no terminal.
type Screen struct {
	out      io.Writer
	terminal bool
	lines    int
}

// NewScreen draws on out.
func NewScreen(out io.Writer, terminal bool) *Screen { return &Screen{out: out, terminal: terminal} }

// Draw shows s in place of what was drawn before.
func (s *Screen) Draw(view string) {
	if !s.terminal {
		return
	}
	if s.lines > 0 {
		fmt.Fprint(s.out, text.CursorUp.Sprintn(s.lines), text.EraseLine.Sprint())
		fmt.Fprint(s.out, "\x1b[J")
	}
	fmt.Fprint(s.out, view)
	s.lines = strings.Count(view, "\n")
}

// RenderFigures lists what was compared, side by side.
func RenderFigures(figures []Figure) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"what", "want", "got", ""})
	for _, f := range figures {
		mark := "equal"
		if !f.OK {
			mark = "DIFFERS"
		}
		t.AppendRow(table.Row{f.What, f.Want, f.Got, mark})
	}
	var b strings.Builder
	b.WriteString(t.Render() + "\n")
	for _, f := range figures {
		for _, c := range f.Complaints {
			fmt.Fprintf(&b, "  %s: %s\n", f.What, c)
		}
	}
	return b.String()
}
