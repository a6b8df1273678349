package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdr/cdrgen"
	"github.com/simline/simline/internal/warehouse"
)

// cdrChild makes this program load one file and say what memory that took: peak
// memory can be had of a process only as a whole.
const cdrChild = "SIMLINE_BENCH_CDR_FILE"

func init() {
	path := os.Getenv(cdrChild)
	if path == "" {
		return
	}
	if err := cdrLoadChild(context.Background(), path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func cdrLoadChild(ctx context.Context, path string) error {
	b, err := bus.Connect(bus.Config{URL: os.Getenv("NATS_URL"), Name: "bench"})
	if err != nil {
		return err
	}
	defer b.Close()
	db, err := warehouse.Open(os.Getenv("CLICKHOUSE_DSN"))
	if err != nil {
		return err
	}
	defer db.Close()
	w, err := cdrWorker(b, db, "")
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	// New, then all of it known under a later generation: both ways of a load.
	name := cdrgen.Window
	for range 2 {
		if _, err := f.Seek(0, 0); err != nil {
			return err
		}
		if _, err := w.Load(ctx, "default", name, f, st.Size()); err != nil {
			return err
		}
		name.Generated = name.Generated.AddDate(0, 0, 1)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, err := fmt.Println(strings.Fields(kb)[0])
			return err
		}
	}
	return errors.New("no VmHWM in /proc/self/status")
}

// cdrMemory measures cdrpull's peak memory over files of three sizes.
func cdrMemory(ctx context.Context) ([]Result, error) {
	const limit = 256
	r, err := newCDRRig(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var out []Result
	for _, n := range []int{100_000, 1_000_000, 10_000_000} {
		path, _, err := r.generate(n)
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, os.Args[0])
		var stdout bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
		cmd.Env = append(os.Environ(), cdrChild+"="+path, "NATS_URL="+r.nats.URL(), "CLICKHOUSE_DSN="+r.engine.DSN(), "TMPDIR="+r.dir)
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("load %d rows: %w", n, err)
		}
		kb, err := strconv.ParseFloat(strings.TrimSpace(stdout.String()), 64)
		if err != nil {
			return nil, err
		}
		out = append(out, Result{Name: fmt.Sprintf("cdr_memory_%d", n), Value: kb / 1024, Unit: "MiB", Against: fmt.Sprintf("the limit of %d MiB", limit), Ratio: limit / (kb / 1024)})
		if err := r.empty(ctx); err != nil {
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return out, nil
}
