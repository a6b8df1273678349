package chd_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/simline/simline/internal/devstack/chd"
)

func TestBigAnswersAreStreamed(t *testing.T) {
	s := start(t, t.TempDir())
	c := native(t, s)
	const rows = 16_000_000 // 256 MB
	before := residentKiB(t, s.PID())
	r, err := c.QueryFormat(t.Context(), "RowBinary", fmt.Sprintf("SELECT number, sipHash64(number) FROM numbers(%d)", rows))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	if err = errors.Join(err, r.Close()); err != nil || n != 16*rows {
		t.Errorf("%d bytes, want %d; error %v", n, 16*rows, err)
	}
	if grown := residentKiB(t, s.PID()) - before; grown > 128<<10 {
		t.Errorf("the engine grew by %d KiB while answering", grown)
	}
}

func residentKiB(t *testing.T, pid int) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // not Linux: nothing to compare
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestClientsInParallel(t *testing.T) {
	s := start(t, t.TempDir())
	c := native(t, s, func(o *clickhouse.Options) { o.MaxOpenConns, o.MaxIdleConns = 32, 32 })
	exec(t, c, "CREATE TABLE p (w UInt32, n UInt32) ENGINE = MergeTree ORDER BY (w, n)")
	const workers, rounds, rows = 32, 4, 1000
	var wg sync.WaitGroup
	for w := range uint32(workers) {
		wg.Go(func() {
			for r := range uint32(rounds) {
				b, err := c.PrepareBatch(t.Context(), "INSERT INTO p")
				if err != nil {
					t.Error(err)
					return
				}
				for n := range uint32(rows) {
					if err := b.Append(w, r*rows+n); err != nil {
						t.Error(err)
						return
					}
				}
				if err := b.Send(); err != nil {
					t.Error(err)
					return
				}
				var n uint64
				if err := c.QueryRow(t.Context(), "SELECT count() FROM p WHERE w = ?", w).Scan(&n); err != nil || n != uint64(r+1)*rows {
					t.Errorf("worker %d sees %d rows after round %d: %v", w, n, r, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestPingAnswersWhileTheEngineIsBusy(t *testing.T) {
	s := start(t, t.TempDir())
	c := native(t, s, func(o *clickhouse.Options) { o.MaxOpenConns, o.MaxIdleConns = 20, 20 })
	var wg sync.WaitGroup
	for range 20 { // more than there are slots
		wg.Go(func() {
			busy := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_threads": 1}))
			_ = c.QueryRow(busy, "SELECT sum(sipHash64(number)) FROM numbers(100000000000)").Err() // ends with the engine
		})
	}
	client := &http.Client{Timeout: time.Minute} // who waits for a slot waits for longer
	defer client.CloseIdleConnections()
	for range 20 {
		resp, err := client.Get(strings.TrimSuffix(s.DSN(), "/default") + "/ping")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	s.Kill()
	wg.Wait()
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	c := native(t, s)
	exec(t, c, "CREATE DATABASE simline", "CREATE TABLE simline.k (n UInt64) ENGINE = MergeTree ORDER BY n",
		"CREATE VIEW simline.v AS SELECT sum(n) AS s FROM simline.k")
	exec(t, c, "INSERT INTO simline.k SELECT number FROM numbers(1000)")
	dsn := s.DSN()
	s.Kill()
	if err := c.Ping(t.Context()); err == nil {
		t.Fatal("answered after kill -9")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if s.DSN() != dsn {
		t.Errorf("address %s after restart, want %s", s.DSN(), dsn)
	}
	var sum uint64
	if err := native(t, s).QueryRow(t.Context(), "SELECT s FROM simline.v").Scan(&sum); err != nil || sum != 499500 {
		t.Errorf("sum %d after kill -9, want 499500; error %v", sum, err)
	}
}

// TestHoldAnEngine is no test: it is the parent that TestEngineDiesWithItsParent kills.
func TestHoldAnEngine(t *testing.T) {
	dir := os.Getenv("CHD_TEST_HOLD")
	if dir == "" {
		return
	}
	s := start(t, dir)
	fmt.Println("engine", s.PID())
	<-s.Exited()
}

func TestEngineDiesWithItsParent(t *testing.T) {
	start(t, t.TempDir()) // skips where there is no engine
	cmd := osexec.Command(os.Args[0], "-test.run=^TestHoldAnEngine$", "-test.v")
	cmd.Env = append(os.Environ(), "CHD_TEST_HOLD="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "engine %d", &pid)
	}
	if pid == 0 {
		t.Fatal("the parent did not start an engine")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		<-tick.C
	}
	t.Errorf("engine %d outlived its parent", pid)
}

func TestSecondEngineOnOneDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	second, err := chd.Start(t.Context(), chd.Config{DataDir: dir, IgnoreDSN: true})
	if err == nil {
		second.Kill()
		t.Fatal("a second engine opened the same directory")
	}
	if !strings.Contains(err.Error(), "in use by another server") {
		t.Errorf("refused with %v", err)
	}
}
