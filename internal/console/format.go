package console

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
)

// funcs are what templates call.
var funcs = template.FuncMap{
	"num": num, "bytes": bytesText, "utc": utc, "stamp": stamp, "iso": iso, "ago": ago, "tone": tone, "words": words, "link": with,
	"pretty": func(b []byte) string { return string(operator.Indent(b)) },
	"raw":    func(m json.RawMessage) string { return string(operator.Indent(m)) },
	"mask":   operator.MaskText,
	"money": func(d decimal.Decimal, currency string) string {
		if currency == "" {
			return ""
		}
		return order.Money{Amount: d, Currency: currency}.String()
	},
	"list": func(v ...string) []string { return v },
	"dict": dict, "fields": strings.Fields, "spark": spark,
	"ms":    func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 },
	"short": func(s string) string { return s[:min(12, len(s))] },
}

// dict makes a map for a template's template.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m
}

// num writes a whole number with its thousands apart, exactly.
func num(v any) string {
	s := fmt.Sprint(v)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	if _, err := strconv.ParseUint(s, 10, 64); err != nil {
		return sign + s
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return sign + b.String()
}

// several is a number of things, with the word that fits it.
func several(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return num(n) + " " + many
}

// bytesText is an amount of data for a glance; the exact number stands beside it.
func bytesText(n uint64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n), -1
	for f >= unit && i < 4 {
		f /= unit
		i++
	}
	return fmt.Sprintf("%.3g %cB", f, "kMGTP"[i])
}

// moment takes what templates have: a time, a pointer to one, or none.
func moment(v any) time.Time {
	switch t := v.(type) {
	case time.Time:
		return t
	case *time.Time:
		if t != nil {
			return *t
		}
	}
	return time.Time{}
}

func utc(v any) string {
	if t := moment(v); t.Unix() > 0 {
		return t.UTC().Format("2006-01-02 15:04:05")
	}
	return "–"
}

// stamp is utc with milliseconds, for what happens within one second.
func stamp(v any) string {
	if t := moment(v); t.Unix() > 0 {
		return t.UTC().Format("2006-01-02 15:04:05.000")
	}
	return "–"
}

func iso(v any) string { return moment(v).UTC().Format(time.RFC3339Nano) }

// ago is how long ago it was, or in how long it will be, seen from now.
func ago(now time.Time, v any) string {
	t := moment(v)
	if t.Unix() <= 0 {
		return ""
	}
	d := now.Sub(t)
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// tone is the colour class of a word; the word always stands beside it.
func tone(word any) string {
	switch fmt.Sprint(word) {
	case "fulfilled", "ok", "on_time", "closed", "loaded":
		return "good"
	case "placed", "intent", "info":
		return "calm"
	case "waiting", "unknown", "warning", "late", "only_overlapped", "behind", "with_rejects", "accepted":
		return "warn"
	case "held", "critical", "missing", "open", "stopped", "on":
		return "bad"
	}
	return "plain"
}

// words makes a name of ours readable: order_missing_here → order missing here.
func words(s any) string { return strings.ReplaceAll(fmt.Sprint(s), "_", " ") }

// with is a query string with one name changed, for links that keep the filters.
func with(query, name string, value any) string {
	q, err := url.ParseQuery(query)
	if err != nil {
		q = url.Values{}
	}
	q.Del("done")
	if s := fmt.Sprint(value); s == "" {
		q.Del(name)
	} else {
		q.Set(name, s)
	}
	return "?" + q.Encode()
}
