package cdrpull

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/ftpdir/ftptest"
	"github.com/simline/simline/internal/sim/fault"
	simftp "github.com/simline/simline/internal/sim/ftp"
)

// business writes n overlapping files, each half hour in two of them and every
// fifth record corrected in the second, and returns what must be counted.
func (r *rig) business(n, rowsPerHalfHour int) (bytes, records uint64) {
	r.t.Helper()
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	halves := make([][]cdr.Record, n+1)
	id := int64(0)
	for h := range halves {
		for range rowsPerHalfHour {
			id++
			halves[h] = append(halves[h], record(id, h*30+1+rng.IntN(28), rng.Int64N(1000)))
		}
	}
	final := map[int64]int64{}
	for i := range n {
		first, second := halves[i], halves[i+1]
		for k := range first {
			if i > 0 && k%5 == 0 { // it came before, and is corrected now
				first[k].Usage += 1_000_000
				if k%10 == 0 {
					first[k].Start = first[k].Start.Add(-2 * time.Hour)
				}
			}
		}
		rows := append(append([]cdr.Record{}, first...), second...)
		for _, row := range rows {
			final[row.ID] = row.Usage
		}
		r.write(fileName(i*30, i*30+60, i*30+90), csv(rows...))
	}
	for _, v := range final {
		bytes += uint64(v)
	}
	return bytes, uint64(len(final))
}

func (r *rig) check(bytes, records uint64) {
	r.t.Helper()
	if b, n := r.usage(), r.records(); b != bytes || n != records {
		r.t.Fatalf("%d bytes in %d records, want %d in %d", b, n, bytes, records)
	}
	if got := one[uint64](r.t, r.db, "SELECT sum(bytes) FROM mart.usage_daily"); got != bytes {
		r.t.Fatalf("usage_daily: %d bytes, want %d", got, bytes)
	}
}

// The engine is killed again and again while files are loaded.
func TestEngineDiesWhileLoading(t *testing.T) {
	t.Parallel()
	r, engine := newRigWithEngine(t)
	if engine.Source != chd.FromLibrary {
		t.Skip("only the embedded engine can be killed and started again here")
	}
	bytes, records := r.business(8, 60)
	cfg := r.config()
	cfg.SealAfter = 0 // seal days as often as may be
	w := r.worker(cfg)
	w.tuning.blockRows = 16 // many inserts per file
	r.start(w)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 4 {
		pause(t, time.Duration(100+rng.IntN(600))*time.Millisecond)
		engine.Kill()
		if err := engine.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 {
		r.wait(fileName(i*30, i*30+60, i*30+90), stateLoaded)
	}
	r.check(bytes, records)
	engine.Kill()
	if err := engine.Restart(); err != nil {
		t.Fatal(err)
	}
	r.check(bytes, records)
}

// NATS goes away and comes back while files are loaded.
func TestNATSGoesAwayWhileLoading(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bytes, records := r.business(6, 40)
	w := r.worker(r.config())
	w.tuning.blockRows = 16
	// A message whose ack was lost comes again after this long.
	if _, err := r.bus.JS.UpdateConsumer(t.Context(), bus.StreamCDR, func() jetstream.ConsumerConfig {
		c, err := r.bus.JS.Consumer(t.Context(), bus.StreamCDR, bus.ConsumerCDRPull)
		if err != nil {
			t.Fatal(err)
		}
		cfg := c.CachedInfo().Config
		cfg.AckWait = 2 * time.Second
		return cfg
	}()); err != nil {
		t.Fatal(err)
	}
	r.start(w)
	for range 2 {
		pause(t, 400*time.Millisecond)
		r.nats.Restart()
	}
	r.bus = r.nats.Connect(r.nats.URL())
	for i := range 6 {
		r.wait(fileName(i*30, i*30+60, i*30+90), stateLoaded)
	}
	r.check(bytes, records)
}

// The FTP server refuses, stalls and cuts transfers.
func TestFTPFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bytes, records := r.business(4, 40)
	r.ftp.Faults().MustAdd(
		fault.Rule{Kind: fault.FTPRefuse, Times: 2},
		fault.Rule{Kind: fault.FTPCut, Times: 2},
		fault.Rule{Kind: fault.FTPStall, Times: 1, Delay: fault.Duration(2 * time.Second)},
	)
	cfg := r.config()
	cfg.CDRFTPURL += "?step=1s"
	r.start(r.worker(cfg))
	for i := range 4 {
		r.wait(fileName(i*30, i*30+60, i*30+90), stateLoaded)
	}
	r.check(bytes, records)
}

// Files grow, shrink, vanish and are replaced while they are looked at and read.
func TestFilesThatChangeMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.worker(r.config())
	r.start(w)
	a, b := []cdr.Record{}, []cdr.Record{}
	for id := range int64(400) {
		a = append(a, record(id, 5, 1))
		b = append(b, record(id, 5, 2))
	}
	name := fileName(0, 60, 90)
	whole := csv(a...)
	for i := range 20 { // grows, at line ends and within lines
		r.write(name, whole[:len(whole)*(i+1)/21])
		pause(t, 15*time.Millisecond)
	}
	r.write(name, whole[:len(whole)/2])
	pause(t, 20*time.Millisecond)
	if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
		t.Fatal(err)
	}
	pause(t, 60*time.Millisecond)
	r.write(name, whole)
	pause(t, 30*time.Millisecond)
	r.write(name, csv(b...)) // replaced, same size
	pause(t, 30*time.Millisecond)
	r.write(name, csv(append(b, record(500, 6, 100))...))
	last := int64(len(csv(append(b, record(500, 6, 100))...)))
	for {
		st := r.wait(name, stateLoaded)
		if st.Size == last {
			break
		}
		pause(t, 10*time.Millisecond)
	}
	r.check(900, 401)
}

func TestOnVSFTPD(t *testing.T) {
	for name, o := range map[string]ftptest.Options{"FTP": {}, "FTPS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			v := ftptest.Start(t, o)
			r.url, r.dir = v.URL, v.Path
			bytes, records := r.business(4, 30)
			r.start(r.worker(r.config()))
			for i := range 4 {
				r.wait(fileName(i*30, i*30+60, i*30+90), stateLoaded)
			}
			r.check(bytes, records)
		})
	}
}

// A directory of very many files is listed and worked off in its order, without
// all of it lying in the queue at once.
func TestLargeDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const foreign = 20_000
	for i := range foreign {
		name := cdr.Name{Account: "20002", Start: at(i), End: at(i + 1), Generated: at(i + 2)}.String()
		if err := os.WriteFile(filepath.Join(r.dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bytes, records := r.business(3, 5)
	w := r.worker(r.config())
	r.start(w)
	for i := range 3 {
		r.wait(fileName(i*30, i*30+60, i*30+90), stateLoaded)
	}
	r.check(bytes, records)
	if rep := w.Reports()[0]; rep.Foreigns != foreign || len(rep.Foreign) != 1000 {
		t.Fatalf("%d foreign files, %d named", rep.Foreigns, len(rep.Foreign))
	}
}

// pause is a moment in which something else goes on; nothing is expected of it.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// Two accounts whose files lie in one directory, and a third on another server.
func TestSeveralAccountsAndServers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := simftp.New(simftp.Config{Root: t.TempDir()})
	url, err := other.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	accounts := filepath.Join(t.TempDir(), "accounts.yaml")
	yaml := "eiotclub:\n"
	for _, a := range [][3]string{{"north", "10001", r.url}, {"south", "20002", r.url}, {"east", "30003", url}} {
		yaml += fmt.Sprintf("  %s: {app_key: k, app_secret: s, cdr: {account: \"%s\", ftp_url: \"%s\"}}\n", a[0], a[1], a[2])
	}
	if err := os.WriteFile(accounts, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	name := func(number string) string { return strings.Replace(fileName(0, 60, 90), "10001", number, 1) }
	r.write(name("10001"), csv(record(1, 5, 1), record(2, 6, 2)))
	r.write(name("20002"), csv(record(1, 5, 10))) // the same id, another account's
	r.write(name("40004"), csv(record(1, 5, 1000)))
	if err := os.WriteFile(filepath.Join(other.Path(), name("30003")), []byte(csv(record(1, 5, 100))), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := r.config()
	cfg.CDRFTPURL, cfg.CDRAccount, cfg.AccountsFile = "", "", accounts
	a, b := r.worker(cfg), r.worker(cfg) // two replicas
	r.start(a)
	r.start(b)
	for account, bytes := range map[string]uint64{"north": 3, "south": 10, "east": 100} {
		r.events(bus.SubjectCDRLoaded(account), 1)
		if got := one[uint64](t, r.db, "SELECT sum(bytes) FROM mart.usage_hourly WHERE account = ?", account); got != bytes {
			t.Errorf("%s: %d bytes, want %d", account, got, bytes)
		}
	}
	if got := r.usage(); got != 113 {
		t.Errorf("%d bytes in all, want 113: a file of an account that is not configured is in", got)
	}
}
