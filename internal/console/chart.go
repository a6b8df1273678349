package console

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/simline/simline/internal/warehouse"
)

// Charts are drawn here, as SVG without a script, a style or a text of anybody's
// but ours. What they show stands beside them as text or as a table.

// spark draws a row of values as a small filled line; the last is the newest.
func spark(values []float64) template.HTML {
	const w, h = 160, 36
	if len(values) < 2 {
		return ""
	}
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	var line strings.Builder
	for i, v := range values {
		y := float64(h - 2)
		if top > 0 {
			y -= v / top * (h - 6)
		}
		fmt.Fprintf(&line, "%.1f,%.1f ", float64(i)*w/float64(len(values)-1), y)
	}
	points := strings.TrimSpace(line.String())
	return template.HTML(fmt.Sprintf(`<svg class="spark" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true"><polygon points="0,%d %s %d,%d"/><polyline points="%s"/></svg>`, w, h, h, points, w, h, points))
}

// bar is one bar of a chart.
type bar struct {
	At    time.Time
	Value uint64
}

// bars draws values over time with a scale on the left and times below.
func bars(list []bar, label func(time.Time) string, unit func(uint64) string) template.HTML {
	const w, h, left, foot = 960, 240, 64, 24
	if len(list) == 0 {
		return ""
	}
	top := uint64(1)
	for _, b := range list {
		top = max(top, b.Value)
	}
	top = niceTop(top)
	var s strings.Builder
	fmt.Fprintf(&s, `<svg class="bars" viewBox="0 0 %d %d" role="img" aria-label="Usage over time; the table below has the numbers">`, w, h+foot)
	for i := range 5 {
		y := float64(h) - float64(h-12)*float64(i)/4
		fmt.Fprintf(&s, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" class="scale">%s</text>`, left, w, y, y, left-8, y+4, unit(top/4*uint64(i)))
	}
	step := float64(w-left) / float64(len(list))
	every := max(1, len(list)/8)
	for i, b := range list {
		height := float64(h-12) * (float64(b.Value) / float64(top))
		x := left + float64(i)*step
		fmt.Fprintf(&s, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s: %s</title></rect>`, x+step*.1, float64(h)-height, step*.8, height, label(b.At), num(b.Value))
		if i%every == 0 && i+every/2 < len(list) {
			fmt.Fprintf(&s, `<text x="%.1f" y="%d" class="time">%s</text>`, x+step/2, h+18, label(b.At))
		}
	}
	s.WriteString("</svg>")
	return template.HTML(s.String())
}

// niceTop rounds up to 1, 2, 4 or 8 times a power of ten, so that the scale's
// quarters are round too.
func niceTop(n uint64) uint64 {
	for p := uint64(1); p < 1<<60; p *= 10 {
		for _, m := range []uint64{1, 2, 4, 8} {
			if m*p*4 >= n && m*p*4 >= 4 {
				return m * p * 4
			}
		}
	}
	return n
}

// slotsOfDay is how many half hours a day has.
const slotsOfDay = 48

// heat draws one account's half hours, a row per day, the newest above.
func heat(slots []warehouse.Slot) template.HTML {
	const cell, left, head = 18, 104, 22
	byDay := map[string][]warehouse.Slot{}
	var days []string
	for _, s := range slots {
		d := s.Start.UTC().Format("01-02 Mon")
		if len(byDay[d]) == 0 {
			days = append([]string{d}, days...)
		}
		byDay[d] = append(byDay[d], s)
	}
	var b strings.Builder
	w, h := left+slotsOfDay*cell, head+len(days)*cell
	fmt.Fprintf(&b, `<svg class="heat" viewBox="0 0 %d %d" role="img" aria-label="Half hours by day; those that are not on time are listed below">`, w, h)
	for hour := 0; hour < 24; hour += 3 {
		fmt.Fprintf(&b, `<text x="%d" y="14" class="time">%02d</text>`, left+hour*2*cell+cell/2, hour)
	}
	for row, d := range days {
		fmt.Fprintf(&b, `<text x="%d" y="%d" class="scale">%s</text>`, left-8, head+row*cell+13, d)
		for _, s := range byDay[d] {
			t := s.Start.UTC()
			col := t.Hour()*2 + t.Minute()/30
			class := s.Status
			if s.WithRejects {
				class += " rejects"
			}
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="3"><title>%s: %s, %d files%s</title></rect>`, template.HTMLEscapeString(class),
				left+col*cell+1, head+row*cell+1, cell-2, cell-2, t.Format("2006-01-02 15:04"), template.HTMLEscapeString(words(s.Status)), s.Files, map[bool]string{true: ", with bad rows"}[s.WithRejects])
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}
