package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/warehouse/warehousetest"
	"github.com/simline/simline/internal/wire"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"simctl": main}) }

// scripts runs the scripts that match with simctl on the addresses of env.
func scripts(t *testing.T, pattern string, env []string, more map[string]func(*testscript.TestScript, bool, []string)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata/script", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no script is %s: %v", pattern, err)
	}
	commands := map[string]func(*testscript.TestScript, bool, []string){"code": code, "golden": golden}
	for name, c := range more {
		commands[name] = c
	}
	t.Run("scripts", func(t *testing.T) { // which run beside each other: this waits for all of them
		testscript.Run(t, testscript.Params{
			Files: files, Cmds: commands, RequireExplicitExec: true,
			Setup: func(e *testscript.Env) error {
				e.Vars = append(e.Vars, append([]string{"USER=mira"}, env...)...)
				return nil
			},
		})
	})
}

// code N simctl …: the command ends with that exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command …")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit) && exit.ExitCode() == want, err == nil && want == 0:
	default:
		ts.Fatalf("%v, want exit code %d", err, want)
	}
}

// What differs from run to run, and what stands for it in golden files.
var scrubs = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]`), "TRACE"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "HOST"},
	{regexp.MustCompile(`answers in [0-9.]+[µm]?s`), "answers in SOME"},
	{regexp.MustCompile(`and \d+ more: run .simctl migrate`), "and MORE: run `simctl migrate"},
	{regexp.MustCompile(`server \d+\.\d+\.\d+`), "server VERSION"},
	{regexp.MustCompile(`[─┌┐└┘├┤┬┴┼]+\n`), ""},
	{regexp.MustCompile(`[ \t]*│[ \t]*`), "|"},
}

// golden FILE: what was printed last is in the file, but for what differs from run
// to run.
func golden(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: golden FILE")
	}
	got := ts.ReadFile("stdout")
	for _, s := range scrubs {
		got = s.from.ReplaceAllString(got, s.to)
	}
	if diff := cmp.Diff(strings.TrimSpace(ts.ReadFile(args[0])), strings.TrimSpace(got)); diff != "" {
		ts.Fatalf("-want +got:\n%s\nall of it:\n%s", diff, got)
	}
}

// On servers that are empty: prepare them, and be told what is missing meanwhile.
func TestSetupScripts(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	scripts(t, "setup*", []string{"NATS_URL=" + s.URL(), "CLICKHOUSE_DSN=" + warehousetest.DSN(t)}, nil)
}

// On NATS with dead letters and an open order, no worker running.
func TestDeskScripts(t *testing.T) {
	s, b := bustest.Provisioned(t, bustest.Options{})
	request := func(id, more string) []byte {
		return []byte(`{"order_id":"` + id + `","supplier":"eiotclub","product":"package","iccid":"8988308650100524999","package_code":"P"` + more + `}`)
	}
	for _, l := range []bus.DeadLetter{
		{Stream: bus.StreamOrders, Subject: bus.SubjectRequest("eiotclub", "package"), Data: request("d-1", `,"account":"second"`), Reason: wire.ReasonUnknownAccount, Cause: errors.New("supplier eiotclub has no account second")},
		{Stream: bus.StreamOrders, Subject: bus.SubjectRequest("eiotclub", "package"), Data: request("d-2", `,"quantity":2`), Reason: wire.ReasonSchema, Cause: errors.New("quantity belongs to esimfly only, of card 8988308650100524999")},
		{Stream: bus.StreamOrderEvents, Subject: bus.SubjectOrderEvent("d-3", "eiotclub", "placed"), Data: []byte("?"), Reason: wire.ReasonMalformed, Cause: errors.New("not JSON")},
		{Stream: bus.StreamWebhooks, Subject: bus.SubjectWebhook("eiotclub", "default", "FlowAlert"), Data: []byte(`{}`), Reason: wire.ReasonStale, Cause: errors.New("74h old")},
		{Stream: bus.StreamOrders, Subject: bus.SubjectRequest("esimfly", "esim"), Data: []byte(`{}`), Reason: wire.ReasonUnknownAccount, Cause: errors.New("supplier esimfly has no account x")},
	} {
		if err := b.DeadBytes(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	scripts(t, "desk*", []string{"NATS_URL=" + s.URL()}, nil)
	got := audited(t, b)
	want := strings.Split(strings.TrimSpace(readFile(t, "testdata/desk_audit.txt")), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("on AUDIT, -want +got:\n%s", diff)
	}
	requests, _, err := b.Range(t.Context(), bus.StreamOrders, bus.SubjectRequest("*", "*"), 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range requests {
		r, _, err := wire.DecodeRequest(m.Data)
		if err != nil && r.Supplier != "" {
			t.Errorf("a request that was replayed cannot be taken: %v", err)
		}
		ids = append(ids, r.OrderID+" "+r.Account)
	}
	if diff := cmp.Diff([]string{"o-1 default", "d-1 second", " default", "d-2 default"}, ids); diff != "" {
		t.Errorf("on ORDERS, -want +got:\n%s", diff)
	}
}

// audited is what stands on AUDIT.
func audited(t *testing.T, b *bus.Bus) []string {
	t.Helper()
	audit, _, err := b.Range(t.Context(), bus.StreamAudit, bus.SubjectAudit("*"), 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range audit {
		var a wire.Audit
		if _, err := wire.DecodeData(m.Data, &a); err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.Join([]string{a.Action, a.Target, a.Actor, a.Reason, a.Via}, " | "))
	}
	return got
}

// From one server to another that is empty.
func TestBackupScripts(t *testing.T) {
	from, b := bustest.Provisioned(t, bustest.Options{})
	to := bustest.Start(t, bustest.Options{})
	l, err := ledger.New(b, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	now := time.Now().UTC()
	r := order.Record{OrderID: "o-1", Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: order.DefaultAccount, State: order.Intent, Certainty: order.CertainUnknown,
		At: now, AcceptedAt: now, FirstSentAt: &now, LastSentAt: &now, Request: order.Request{OrderID: "o-1", Supplier: order.EIOTCLUB, Product: order.ProductPackage,
			Account: order.DefaultAccount, ICCID: "8988308650100524999", PackageCode: "P"}}
	if _, err := l.Append(t.Context(), &ledger.Entry{}, r); err != nil {
		t.Fatal(err)
	}
	scripts(t, "backup*", []string{"NATS_URL=" + from.URL(), "RESTORED=" + to.URL()}, nil)
	restored, err := bus.Connect(bus.Config{URL: to.URL(), Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	want := []string{"streams_backup | copies | mira | nightly | simctl", "streams_restore | copies | mira | the disks are gone | simctl"}
	if diff := cmp.Diff(want[:1], audited(t, b)); diff != "" {
		t.Errorf("on AUDIT of what was copied, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(want, audited(t, restored)); diff != "" {
		t.Errorf("on AUDIT of what was restored, -want +got:\n%s", diff)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
