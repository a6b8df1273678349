package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/devstack/natsd"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/eiotclub"
)

const (
	ingestConns  = 64
	ingestRounds = 5
	ingestSecret = "a1b1c1d1"
)

// ingestBench measures ingest with full verification against a bare handler that
// publishes with a message id and waits for the PubAck, on the same server, in
// turn, over 64 keep-alive connections with bodies of 600 bytes.
func ingestBench(ctx context.Context) ([]Result, error) {
	var out []Result
	for _, v := range []struct {
		name    string
		relaxed bool
		n       int
	}{{"ingest_default", true, 40_000}, {"ingest_syncalways", false, 12_000}} {
		r, err := ingestRoundsOf(ctx, v.name, v.relaxed, v.n)
		if err != nil {
			return nil, err
		}
		out = append(out, r...)
	}
	return append(out, ingestMicro()...), nil
}

func ingestRoundsOf(ctx context.Context, name string, relaxed bool, n int) ([]Result, error) {
	type figures struct{ rate, p50, p99, rss []float64 }
	var floor, ours figures
	for round := range ingestRounds {
		for _, v := range []struct {
			serve ingestServer
			f     *figures
		}{{ingestFloor, &floor}, {ingestWorker, &ours}} {
			rate, took, rss, err := ingestRound(ctx, relaxed, n, round, v.serve)
			if err != nil {
				return nil, err
			}
			v.f.rate = append(v.f.rate, rate)
			v.f.p50 = append(v.f.p50, milliseconds(took[len(took)/2]))
			v.f.p99 = append(v.f.p99, milliseconds(took[len(took)*99/100]))
			v.f.rss = append(v.f.rss, rss)
		}
	}
	against := func(suffix, unit string, a, b []float64) Result {
		return Result{Name: name + suffix, Value: median(a), Unit: unit, Against: figure("bare handler", median(b), unit), Ratio: median(a) / median(b)}
	}
	return []Result{
		against("", "requests/s", ours.rate, floor.rate),
		against("_p50", "ms", ours.p50, floor.p50),
		against("_p99", "ms", ours.p99, floor.p99),
		against("_memory", "MiB", ours.rss, floor.rss),
	}, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ingestRound sends n notifications to what serve starts, with a NATS server of
// its own, each in a process of its own, and checks that all of them are stored.
func ingestRound(ctx context.Context, relaxed bool, n, round int, serve ingestServer) (rate float64, took []time.Duration, rss float64, err error) {
	dir, err := os.MkdirTemp("", "bench-ingest-")
	if err != nil {
		return 0, nil, 0, err
	}
	defer os.RemoveAll(dir)
	srv, url, err := benchChild(ctx, "nats", "BENCH_DIR="+filepath.Join(dir, "nats"), fmt.Sprintf("BENCH_RELAXED=%v", relaxed))
	if err != nil {
		return 0, nil, 0, err
	}
	defer srv()
	b, err := bus.Connect(bus.Config{URL: url, Name: "bench"})
	if err != nil {
		return 0, nil, 0, err
	}
	defer b.Close()
	if err := b.Provision(ctx, bus.DefaultSettings()); err != nil {
		return 0, nil, 0, err
	}
	addr, pid, stop, err := serve(ctx, url, dir)
	if err != nil {
		return 0, nil, 0, err
	}
	defer stop()
	requests := make([][]byte, n)
	for i := range requests {
		requests[i] = ingestRequest(fmt.Sprintf("r%d-%d", round, i))
	}
	if err := ingestSend(addr, ingestWarmUp(round), make([]time.Duration, ingestWarm)); err != nil {
		return 0, nil, 0, err
	}
	took, begin := make([]time.Duration, n), time.Now()
	if err := ingestSend(addr, requests, took); err != nil {
		return 0, nil, 0, err
	}
	elapsed := time.Since(begin)
	rss = peakRSS(pid)
	s, err := b.JS.Stream(ctx, bus.StreamWebhooks)
	if err != nil {
		return 0, nil, 0, err
	}
	if got := s.CachedInfo().State.Msgs; got != uint64(n+ingestWarm) {
		return 0, nil, 0, fmt.Errorf("%d of %d notifications are stored", got, n+ingestWarm)
	}
	slices.Sort(took)
	return float64(n) / elapsed.Seconds(), took, rss, nil
}

const ingestWarm = 500

func ingestWarmUp(round int) [][]byte {
	out := make([][]byte, ingestWarm)
	for i := range out {
		out[i] = ingestRequest(fmt.Sprintf("w%d-%d", round, i))
	}
	return out
}

// ingestRequest is a signed notification of 600 bytes as one HTTP request.
func ingestRequest(id string) []byte {
	at := time.Now().Unix()
	data := `[{"iccid":"89423053323291099364","orderId":10004728,"packageName":"A-TM-50M-1","packageCode":"A-TM-50M-1D-A-CN-TEST-2024052489FC722C","state":0,"gzhPackageName":"","createDate":"2024-05-28 09:34:47","packageType":3,"outTradeNo":"6300001983111426769635","salesChannel":"API","customData":"` + "%s" + `"}]`
	body := func(pad string) []byte {
		d := fmt.Sprintf(data, pad)
		sum := sha1.Sum([]byte(fmt.Sprintf("data=%s&event=SubPkgList&id=%s&nonce=40604&timestamp=%d&secret=%s", d, id, at, ingestSecret)))
		return fmt.Appendf(nil, `{"data":%q,"event":"SubPkgList","id":%q,"nonce":40604,"sign":"%X","timestamp":%d}`, d, id, sum, at)
	}
	b := body(string(bytes.Repeat([]byte("x"), max(0, 600-len(body(""))))))
	return append(fmt.Appendf(nil, "POST /webhooks/eiotclub/default HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json;charset=utf-8\r\nContent-Length: %d\r\n\r\n", len(b)), b...)
}

// ingestSend writes requests over 64 connections and reads the answers, with as
// little of its own as possible: it shares the machine with what it measures.
func ingestSend(addr string, requests [][]byte, took []time.Duration) error {
	var next atomic.Int64
	var g errgroup.Group
	for range ingestConns {
		g.Go(func() error {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for i := next.Add(1) - 1; i < int64(len(requests)); i = next.Add(1) - 1 {
				t0 := time.Now()
				if _, err := c.Write(requests[i]); err != nil {
					return err
				}
				if err := readSuccess(r); err != nil {
					return err
				}
				took[i] = time.Since(t0)
			}
			return nil
		})
	}
	return g.Wait()
}

func readSuccess(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Contains(line, []byte(" 200 ")) {
		return fmt.Errorf("answer %q", line)
	}
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
	_, err = r.Discard(length)
	return err
}

// ingestServer starts something that takes notifications.
type ingestServer func(ctx context.Context, natsURL, dir string) (addr string, pid int, stop func(), err error)

func ingestFloor(ctx context.Context, natsURL, _ string) (string, int, func(), error) {
	return benchProcess(ctx, exec.CommandContext(ctx, "/proc/self/exe"), "BENCH_CHILD=floor", "NATS_URL="+natsURL)
}

// floorChild is the handler that a good engineer would write first, without the
// signature.
func floorChild() (string, error) {
	b, err := bus.Connect(bus.Config{URL: os.Getenv("NATS_URL"), Name: "floor"})
	if err != nil {
		return "", err
	}
	var ids atomic.Int64
	subject := bus.SubjectWebhook(order.EIOTCLUB, "default", "SubPkgList")
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if _, err := b.JS.Publish(r.Context(), subject, body, jetstream.WithMsgID(strconv.FormatInt(ids.Add(1), 10))); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status":"SUCCESS"}`))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	return l.Addr().String(), nil
}

func natsChild() (string, error) {
	srv, err := natsd.Start(natsd.Config{StoreDir: os.Getenv("BENCH_DIR"), RelaxedSync: os.Getenv("BENCH_RELAXED") == "true"})
	if err != nil {
		return "", err
	}
	return srv.URL(), nil
}

// init lets this program be started again as one of the parts that a benchmark
// needs in a process of its own. Such a child prints its address and lives until
// its standard input ends.
func init() {
	parts := map[string]func() (string, error){"floor": floorChild, "nats": natsChild, "shop": shopChild}
	part := parts[os.Getenv("BENCH_CHILD")]
	if part == nil {
		return
	}
	addr, err := part()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	fmt.Println("addr=" + addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func benchChild(ctx context.Context, part string, env ...string) (stop func(), addr string, err error) {
	addr, _, stop, err = benchProcess(ctx, exec.CommandContext(ctx, "/proc/self/exe"), append(env, "BENCH_CHILD="+part)...)
	return stop, addr, err
}

var benchAddr = regexp.MustCompile(`\baddr"?[=:]"?([^"\s]+)`)

// benchProcess starts cmd and waits for the line that names its address.
func benchProcess(_ context.Context, cmd *exec.Cmd, env ...string) (addr string, pid int, stop func(), err error) {
	cmd.Env = append(os.Environ(), env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", 0, nil, err
	}
	out, w, err := os.Pipe()
	if err != nil {
		return "", 0, nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	w.Close()
	stop = func() {
		_ = stdin.Close()
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	lines := bufio.NewScanner(out)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		if m := benchAddr.FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, out); out.Close() }()
			return m[1], cmd.Process.Pid, stop, nil
		}
	}
	stop()
	return "", 0, nil, fmt.Errorf("%s did not start: %s", cmd.Path, strings.Join(said, " | "))
}

// ingestWorker is the real binary, spool and all.
func ingestWorker(ctx context.Context, natsURL, dir string) (string, int, func(), error) {
	bin := filepath.Join(dir, "ingest")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "github.com/simline/simline/cmd/ingest").CombinedOutput(); err != nil {
		return "", 0, nil, fmt.Errorf("build ingest: %w: %s", err, out)
	}
	return benchProcess(ctx, exec.CommandContext(ctx, bin), "NATS_URL="+natsURL, "EIOTCLUB_APP_KEY=1", "EIOTCLUB_APP_SECRET="+ingestSecret,
		"HTTP_ADDR=127.0.0.1:0", "ADMIN_ADDR="+"127.0.0.1:"+cmp.Or(os.Getenv("BENCH_ADMIN_PORT"), "0"), "SPOOL_DIR="+filepath.Join(dir, "spool"), "LOG_FORMAT=json")
}

// peakRSS is the most memory that a process ever used, in MiB.
func peakRSS(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kib / 1024
		}
	}
	return 0
}

// ingestMicro is what reading and verifying one notification costs.
func ingestMicro() []Result {
	request := ingestRequest("micro")
	body := request[bytes.Index(request, []byte("\r\n\r\n"))+4:]
	v, err := eiotclub.NewVerifier(ingestSecret)
	if err != nil {
		panic(err) // the secret is a constant
	}
	verify := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		var s eiotclub.Scanner
		for range b.N {
			if s.Scan(body) != nil || v.Verify(&s) != nil {
				b.Fatal("refused")
			}
		}
	})
	sum := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			_ = sha1.Sum(body)
		}
	})
	parse := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, err := eiotclub.ParseNotification(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	return []Result{
		{Name: "ingest_verify", Value: float64(verify.NsPerOp()), Unit: "ns", Against: figure("SHA-1 of the body alone", float64(sum.NsPerOp()), "ns"), Ratio: float64(verify.NsPerOp()) / float64(sum.NsPerOp())},
		{Name: "ingest_verify_allocs", Value: float64(verify.AllocsPerOp()), Unit: "allocations", Against: "none", Ratio: 0},
		{Name: "notification_decode", Value: float64(parse.NsPerOp()), Unit: "ns", Against: figure("allocations", float64(parse.AllocsPerOp()), ""), Ratio: 0},
	}
}
