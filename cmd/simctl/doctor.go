package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ftpdir"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// What a check may say.
const (
	wellOK   = "ok"
	wellWarn = "warn" // works, and somebody should look
	wellBad  = "BAD"
	wellNone = "-" // not configured here
)

// checked is one check and what it says, in words.
type checked struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warn, BAD, or - for what is not configured here
	Says  string `json:"says"`
}

// doctor gathers checks.
type doctor struct {
	ctx  context.Context
	list []checked
}

func (d *doctor) say(check, state, text string, args ...any) {
	d.list = append(d.list, checked{check, state, fmt.Sprintf(text, args...)})
}

// patience is how long one check may take.
const patience = 10 * time.Second

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check everything that a worker needs, and say in words what is wrong", Args: cobra.NoArgs,
		Long: "Check everything that a worker needs from where it runs, with the workers' own environment: NATS and what stands on it,\n" +
			"ClickHouse and its tables, the suppliers' addresses and our clock, the FTP directories, ingest's spool; and what waits for a\n" +
			"person. It changes nothing and buys nothing. Exit code 4 if something is BAD.",
		Example: "  simctl doctor\n  kubectl -n simline exec deploy/console -- /program doctor",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{ctx: cmd.Context()}
			d.nats()
			d.clickhouse()
			d.accounts()
			d.spool()
			if err := printList(cmd, d.list, table.Row{"check", "", "says"}, func(c checked) table.Row { return table.Row{c.Check, c.State, c.Says} }); err != nil {
				return err
			}
			bad := 0
			for _, c := range d.list {
				if c.State == wellBad {
					bad++
				}
			}
			if bad > 0 {
				return notWell("%d of %d checks are bad", bad, len(d.list))
			}
			return nil
		},
	}
}

func (d *doctor) nats() {
	ctx, cancel := context.WithTimeout(d.ctx, 3*patience)
	defer cancel()
	b, err := connect()
	if err != nil {
		d.say("NATS", wellBad, "%v: is NATS_URL right, does a server answer there, is NATS_CREDS a user of it?", err)
		return
	}
	defer b.Close()
	rtt, err := b.NC.RTT()
	if err != nil {
		d.say("NATS", wellBad, "connected, but it does not answer: %v", err)
		return
	}
	d.say("NATS", wellOK, "%s, server %s, answers in %s", b.NC.ConnectedUrlRedacted(), b.NC.ConnectedServerVersion(), rtt.Round(10*time.Microsecond))
	s, err := settings()
	if err != nil {
		d.say("topology", wellBad, "%v", err)
		return
	}
	plan, err := b.Plan(ctx, s)
	switch {
	case err != nil:
		d.say("topology", wellBad, "%v: is JetStream on, and may this user look?", err)
		return
	case len(plan) > 0:
		var missing []string
		for _, c := range plan {
			if c.What == "make" {
				missing = append(missing, c.Kind+" "+c.Name)
				continue
			}
			d.say(c.Kind+" "+c.Name, wellWarn, "%s: run `simctl provision`", c.What)
		}
		if len(missing) > 0 {
			d.say("topology", wellBad, "%s: run `simctl provision`", lacks(missing))
		}
	default:
		topo := bus.NewTopology(s)
		d.say("topology", wellOK, "%d streams and %d buckets are as this version wants them", len(topo.Streams), len(topo.Buckets))
	}
	if !slices.ContainsFunc(plan, func(c bus.Change) bool { return c.What == "make" }) {
		d.waiting(ctx, b)
	}
}

// lacks names a few of what is missing.
func lacks(names []string) string {
	const few = 3
	if len(names) <= few {
		return "lacks " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("lacks %s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// waiting looks at what lies for a person, and whether somebody takes the queues.
func (d *doctor) waiting(ctx context.Context, b *bus.Bus) {
	for stream, consumers := range bus.NewTopology(bus.DefaultSettings()).Consumers {
		for _, c := range consumers {
			cons, err := b.JS.Consumer(ctx, stream, c.Durable)
			if err != nil {
				d.say("consumer "+c.Durable, wellBad, "%v", err)
				continue
			}
			info := cons.CachedInfo()
			if info.NumPending > 0 && info.NumWaiting == 0 && info.NumAckPending == 0 {
				d.say("consumer "+c.Durable, wellWarn, "%d messages wait on %s and nobody takes them: does its worker run?", info.NumPending, stream)
			}
		}
	}
	op, err := operator.New(b, wire.ViaSimctl)
	if err != nil {
		d.say("operator", wellBad, "%v", err)
		return
	}
	defer op.Close()
	counts, err := op.DeadCounts(ctx)
	if err != nil {
		d.say("dead letters", wellBad, "%v", err)
	} else if len(counts) == 0 {
		d.say("dead letters", wellOK, "none")
	} else {
		var parts []string
		for _, stream := range slices.Sorted(maps.Keys(counts)) {
			parts = append(parts, fmt.Sprintf("%d of %s", counts[stream], stream))
		}
		d.say("dead letters", wellWarn, "%s: see `simctl dlq ls`", strings.Join(parts, ", "))
	}
	switches, err := op.Switches(ctx)
	if err != nil {
		d.say("switches", wellBad, "%v", err)
		return
	}
	on := 0
	for _, s := range switches {
		if s.On {
			on++
			d.say("switch "+s.Name, wellWarn, "is on since %s, by %s: %s", s.At, s.By, s.Reason)
		}
	}
	if on == 0 {
		d.say("switches", wellOK, "none is on")
	}
}

func (d *doctor) clickhouse() {
	dsn, err := clickhouseDSN()
	if err != nil {
		d.say("ClickHouse", wellNone, "CLICKHOUSE_DSN is not set: cdrpull, reconciler, archiver and the page need it")
		return
	}
	db, err := warehouse.Open(dsn)
	if err != nil {
		d.say("ClickHouse", wellBad, "%v", err)
		return
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	if err := db.Ping(ctx); err != nil {
		d.say("ClickHouse", wellBad, "%v: is the address right, the user known, the port open?", err)
		return
	}
	missing, err := db.Missing(ctx)
	switch {
	case err != nil:
		d.say("ClickHouse", wellBad, "answers, but our tables cannot be looked at: %v", err)
	case len(missing) > 0:
		d.say("ClickHouse", wellBad, "answers, but %s: run `simctl migrate`", lacks(missing))
	default:
		d.say("ClickHouse", wellOK, "answers, every migration is in")
	}
}

// accounts looks at the suppliers' addresses, our clock against theirs, and the
// FTP directories. No call that costs or counts is made.
func (d *doctor) accounts() {
	var s struct {
		service.Settings
		service.AccountSettings
	}
	if err := service.LoadConfig(os.Environ(), &s); err != nil {
		d.say("settings", wellBad, "%v", err)
		return
	}
	accounts, err := s.Load()
	if err != nil {
		d.say("accounts", wellBad, "%v", err)
		return
	}
	if len(accounts.EIOTCLUB)+len(accounts.ESIMFly) == 0 {
		d.say("accounts", wellNone, "none is configured here: ACCOUNTS_FILE, or EIOTCLUB_APP_KEY and its like")
		return
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(accounts.EIOTCLUB)) {
		a := accounts.EIOTCLUB[name]
		d.secret("eiotclub/"+name, a.AppKey == "", a.AppSecret == "")
		d.supplier("eiotclub/"+name, a.BaseURL, seen)
		if a.CDR.FTPURL != "" {
			d.directory("eiotclub/"+name, a.CDR.FTPURL)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(accounts.ESIMFly)) {
		a := accounts.ESIMFly[name]
		d.secret("esimfly/"+name, a.AccessCode == "", a.SecretKey == "")
		d.supplier("esimfly/"+name, a.BaseURL, seen)
	}
}

func (d *doctor) secret(name string, noKey, noSecret bool) {
	if noKey || noSecret {
		d.say("account "+name, wellWarn, "its %s is not set here: orderer and reconciler need it", ifElse(noKey, "key", "secret"))
	}
}

// maxDrift is above what a signed call forgives.
const maxDrift = 30 * time.Second

func (d *doctor) supplier(name, base string, seen map[string]bool) {
	if seen[base] {
		return
	}
	seen[base] = true
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, base, nil)
	if err != nil {
		d.say("supplier "+name, wellBad, "%s is no address: %v", service.RedactURL(base), err)
		return
	}
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	begin := time.Now()
	res, err := client.Do(req)
	if err != nil {
		d.say("supplier "+name, wellBad, "%s cannot be reached: %v", service.RedactURL(base), errors.Unwrap(err))
		return
	}
	_ = res.Body.Close() // HEAD has none
	took := time.Since(begin)
	text := fmt.Sprintf("%s answers in %s", service.RedactURL(base), took.Round(100*time.Microsecond))
	if there, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		drift := begin.Add(took / 2).Sub(there).Abs()
		if drift > maxDrift {
			d.say("supplier "+name, wellBad, "%s, but our clocks differ by %s: signatures will be refused", text, drift.Round(time.Second))
			return
		}
		text += ", our clocks agree"
	}
	d.say("supplier "+name, wellOK, "%s", text)
}

func (d *doctor) directory(name, url string) {
	ctx, cancel := context.WithTimeout(d.ctx, 2*patience)
	defer cancel()
	dir, err := ftpdir.Parse(url)
	if err != nil {
		d.say("FTP "+name, wellBad, "%v", err)
		return
	}
	list, err := dir.List(ctx)
	if err != nil {
		d.say("FTP "+name, wellBad, "%s cannot be listed: %v (address, password, passive ports?)", service.RedactURL(url), err)
		return
	}
	d.say("FTP "+name, wellOK, "%s can be listed, %d files", service.RedactURL(url), len(list.Files))
}

func (d *doctor) spool() {
	var s spoolSettings
	if err := parseEnv(&s); err != nil || s.Dir == "" {
		d.say("spool", wellNone, "SPOOL_DIR is not set here: without one, ingest answers 503 while NATS is away")
		return
	}
	probe, err := os.CreateTemp(s.Dir, ".doctor-")
	if err != nil {
		d.say("spool", wellBad, "%s cannot be written: %v", s.Dir, err)
		return
	}
	_ = errors.Join(probe.Close(), os.Remove(probe.Name())) // empty, and nobody reads its name
	left, err := filepath.Glob(filepath.Join(s.Dir, "*.damaged"))
	if err != nil || len(left) > 0 {
		d.say("spool", wellWarn, "%s holds %d damaged files: see `simctl spool ls`", s.Dir, len(left))
		return
	}
	d.say("spool", wellOK, "%s can be written", s.Dir)
}
