package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/cdr/cdrgen"
	"github.com/simline/simline/internal/cdrpull"
	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/devstack/natsd"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
)

// cdrRows is the file that all CDR benchmarks load: 2 million rows, 226 MB.
const cdrRows = 2_000_000

// cdrLoad measures cdrpull's line, from the first byte of a file to its mark in
// the ledger of files, against the engine's own way of loading the same file into
// the same table at default settings.
func cdrLoad(ctx context.Context) ([]Result, error) {
	r, err := newCDRRig(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	path, usage, err := r.generate(cdrRows)
	if err != nil {
		return nil, err
	}
	// The overlapped hour comes a second time in the next file.
	again := cdrgen.Window
	again.Start, again.End, again.Generated = again.Start.Add(30*time.Minute), again.End.Add(30*time.Minute), again.Generated.Add(30*time.Minute)

	var engine, fresh, overlap []float64
	for range 5 {
		s, err := r.timed(ctx, usage, func() error { return r.engineCSV(ctx, path) })
		if err != nil {
			return nil, fmt.Errorf("the engine's own CSV: %w", err)
		}
		engine = append(engine, cdrRows/s)
		if err := r.empty(ctx); err != nil {
			return nil, err
		}
		if s, err = r.timed(ctx, usage, func() error { return r.load(ctx, cdrgen.Window, path, cdrRows, 0) }); err != nil {
			return nil, fmt.Errorf("a new file: %w", err)
		}
		fresh = append(fresh, cdrRows/s)
		if s, err = r.timed(ctx, usage, func() error { return r.load(ctx, again, path, 0, cdrRows) }); err != nil {
			return nil, fmt.Errorf("the overlap: %w", err)
		}
		overlap = append(overlap, cdrRows/s)
		if err := r.empty(ctx); err != nil {
			return nil, err
		}
	}
	base := median(engine)
	peer := figure("the engine's own INSERT … FROM INFILE … FORMAT CSV", base, "rows/s")
	return []Result{
		{Name: "cdr_new", Value: median(fresh), Unit: "rows/s", Against: peer, Ratio: median(fresh) / base},
		{Name: "cdr_overlap", Value: median(overlap), Unit: "rows/s", Against: peer, Ratio: median(overlap) / base},
	}, nil
}

// cdrDecode measures decoding and validating alone, against encoding/csv as it is
// (which gives texts and checks nothing) and against encoding/csv with its numbers
// and times converted (which is what a row is of use as).
func cdrDecode(context.Context) ([]Result, error) {
	var file bytes.Buffer
	if err := (cdrgen.File{Rows: cdrRows}).Write(&file); err != nil {
		return nil, err
	}
	ours := func(src io.Reader) (int, error) {
		rules := cdr.Rules{WindowStart: cdrgen.Window.Start, WindowEnd: cdrgen.Window.End, Now: time.Now()}
		rows := make([]cdr.Row, 64<<10)
		d := cdr.NewDecoder(src, rules, func(r cdr.Reject) error { return fmt.Errorf("line %d: %s", r.Line, r.Reason) })
		for {
			if _, err := d.Read(rows); errors.Is(err, io.EOF) {
				return int(d.Stats().Rows), nil
			} else if err != nil {
				return 0, err
			}
		}
	}
	contenders := []func(io.Reader) (int, error){ours, plainEncodingCSV, decodeEncodingCSV}
	figures := make([][]float64, len(contenders))
	var allocs float64
	for range 5 {
		for i, decode := range contenders {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			begin := time.Now()
			n, err := decode(bytes.NewReader(file.Bytes()))
			if err != nil || n != cdrRows {
				return nil, fmt.Errorf("contender %d: %d rows: %w", i, n, err)
			}
			figures[i] = append(figures[i], cdrRows/time.Since(begin).Seconds())
			if runtime.ReadMemStats(&after); i == 0 {
				allocs = float64(after.Mallocs-before.Mallocs) / cdrRows
			}
		}
	}
	value, plain, typed := median(figures[0]), median(figures[1]), median(figures[2])
	unit := fmt.Sprintf("rows/s, %.2f allocations a row", allocs)
	return []Result{
		{Name: "cdr_decode", Value: value, Unit: unit, Against: figure("encoding/csv at its defaults, texts alone", plain, "rows/s"), Ratio: value / plain},
		{Name: "cdr_decode_typed", Value: value, Unit: unit, Against: figure("encoding/csv, record reused, numbers and times converted", typed, "rows/s"), Ratio: value / typed},
	}, nil
}

// plainEncodingCSV is the standard library as its documentation shows it.
func plainEncodingCSV(src io.Reader) (int, error) {
	r := csv.NewReader(src)
	for n := -1; ; n++ { // the header
		_, err := r.Read()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// decodeEncodingCSV is the standard library, told to reuse its record, with the
// numbers and times converted.
func decodeEncodingCSV(src io.Reader) (int, error) {
	r := csv.NewReader(src)
	r.ReuseRecord = true
	n := -1 // the header
	for {
		f, err := r.Read()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if n++; n == 0 {
			continue
		}
		if _, err := strconv.ParseInt(f[0], 10, 64); err != nil {
			return n, err
		}
		if _, err := strconv.ParseInt(f[5], 10, 64); err != nil {
			return n, err
		}
		for _, text := range f[1:3] {
			if _, err := time.Parse(time.DateTime, text); err != nil {
				return n, err
			}
		}
	}
}

// cdrRig is an engine, a bus and a worker.
type cdrRig struct {
	dir    string
	nats   *natsd.Server
	engine *chd.Server
	bus    *bus.Bus
	db     *warehouse.DB
	worker *cdrpull.Worker
}

func newCDRRig(ctx context.Context) (_ *cdrRig, err error) {
	r := &cdrRig{}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.dir, err = os.MkdirTemp("", "bench-cdr-"); err != nil {
		return nil, err
	}
	if r.nats, err = natsd.Start(natsd.Config{StoreDir: filepath.Join(r.dir, "nats")}); err != nil {
		return nil, err
	}
	if r.engine, err = chd.Start(ctx, chd.Config{DataDir: filepath.Join(r.dir, "clickhouse"), Progress: os.Stderr, IgnoreDSN: true}); err != nil {
		return nil, err
	}
	if err = warehouse.Migrate(ctx, r.engine.DSN(), nil); err != nil {
		return nil, err
	}
	if r.bus, err = bus.Connect(bus.Config{URL: r.nats.URL(), Name: "bench"}); err != nil {
		return nil, err
	}
	if err = r.bus.Provision(ctx, bus.DefaultSettings()); err != nil {
		return nil, err
	}
	if r.db, err = warehouse.Open(r.engine.DSN()); err != nil {
		return nil, err
	}
	r.worker, err = cdrWorker(r.bus, r.db, r.dir)
	return r, err
}

// cdrWorker is a worker at default settings, for one account.
func cdrWorker(b *bus.Bus, db *warehouse.DB, spool string) (*cdrpull.Worker, error) {
	cfg := &cdrpull.Config{}
	if err := service.LoadConfig([]string{"CLICKHOUSE_DSN=http://127.0.0.1:8123", "CDR_FTP_URL=ftp://127.0.0.1:21/upload", "CDR_ACCOUNT=10001", "SPOOL_DIR=" + spool}, cfg); err != nil {
		return nil, err
	}
	return cdrpull.New(cdrpull.Parts{Config: cfg, Bus: b, DB: db, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
}

func (r *cdrRig) close() {
	if r.db != nil {
		_ = r.db.Close()
	}
	if r.bus != nil {
		r.bus.Close()
	}
	if r.engine != nil {
		_ = r.engine.Stop()
	}
	if r.nats != nil {
		_ = r.nats.Shutdown()
	}
	_ = os.RemoveAll(r.dir)
}

// generate writes a file of n rows and returns its path and the sum of its bytes.
func (r *cdrRig) generate(n int) (path string, usage uint64, err error) {
	path = filepath.Join(r.dir, fmt.Sprintf("%d.csv", n))
	f, err := os.Create(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	gen := cdrgen.File{Rows: n}
	if err := gen.Write(f); err != nil {
		return "", 0, err
	}
	gen.Records(func(rec cdr.Record) bool { usage += uint64(rec.Usage); return true })
	return path, usage, nil
}

// timed runs do and checks that every byte is then counted once.
func (r *cdrRig) timed(ctx context.Context, usage uint64, do func() error) (seconds float64, err error) {
	begin := time.Now()
	if err := do(); err != nil {
		return 0, err
	}
	seconds = time.Since(begin).Seconds()
	var got uint64
	if err := r.db.Conn().QueryRow(ctx, "SELECT sum(bytes) FROM mart.usage_hourly").Scan(&got); err != nil {
		return 0, err
	}
	if got != usage {
		return 0, fmt.Errorf("SUM(bytes) = %d, the file holds %d", got, usage)
	}
	return seconds, nil
}

func (r *cdrRig) engineCSV(ctx context.Context, path string) error {
	return r.db.Conn().Exec(ctx, "INSERT INTO simline.cdr (id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc) FROM INFILE '"+path+"' "+
		"SETTINGS input_format_csv_skip_first_lines = 1 FORMAT CSV")
}

func (r *cdrRig) load(ctx context.Context, name cdr.Name, path string, inserted, known int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	rec, err := r.worker.Load(ctx, "default", name, f, st.Size())
	if err != nil {
		return err
	}
	if rec.Inserted != inserted || rec.Known != known || rec.Rejects != 0 {
		return fmt.Errorf("%d inserted, %d known, %d bad rows; want %d, %d, 0", rec.Inserted, rec.Known, rec.Rejects, inserted, known)
	}
	return nil
}

func (r *cdrRig) empty(ctx context.Context) error {
	for _, table := range []string{"cdr", "cdr_files", "cdr_confirmed", "usage_days", "usage_rollup"} {
		if err := r.db.Conn().Exec(ctx, "TRUNCATE TABLE simline."+table); err != nil {
			return err
		}
	}
	return nil
}
