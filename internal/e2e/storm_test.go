package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/devstack/freeport"
	"github.com/simline/simline/internal/e2e"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
)

var (
	stormAnswers = flag.Int("storm.answers", 150, "SUCCESS answers that each step of the storm waits for")
	stormKills   = flag.Int("storm.kills", 2, "how often ingest is killed in each misfortune")
)

const (
	stormSecret  = "a1b1c1d1"
	stormSenders = 16
	stormPause   = 4 * time.Millisecond
)

// TestWebhookStorm posts notifications to the real ingest while its broker, a
// process of its own, is stopped, hung, and out of disk, and while ingest itself is
// killed again and again. What was answered with SUCCESS must be stored, what was
// forged must not be, and nothing may arrive twice in ClickHouse. `make storm` runs
// it longer.
func TestWebhookStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs binaries")
	}
	s := newStorm(t)
	var load sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for i := range stormSenders {
		load.Go(func() { s.send(ctx, i) })
	}
	s.step("steady", func() { s.progress() })
	s.step("broker stopped", func() {
		s.nats.kill()
		s.killIngest()
		s.nats.start()
		s.progress()
	})
	s.step("broker hung", func() {
		s.nats.signal(syscall.SIGSTOP)
		s.killIngest()
		s.nats.signal(syscall.SIGCONT)
		s.progress()
	})
	s.step("broker's disk full", func() {
		if !s.fillDisk() {
			return
		}
		s.killIngest()
		s.freeDisk()
		s.progress()
	})
	s.step("ingest killed again and again", func() {
		for range *stormKills {
			s.killIngest()
		}
	})
	stop()
	load.Wait()
	s.step("drain", s.drained)
	s.books()
}

// storm is one run.
type storm struct {
	t        *testing.T
	nats     *broker
	disk     string // where the broker stores, if it is a file system of its own
	ingest   *e2e.Process
	archiver *e2e.Process
	url      string
	bus      *bus.Bus
	db       *warehouse.DB

	mu       sync.Mutex
	taken    map[string]bool // answered with SUCCESS
	sent     map[string]bool // well signed
	forged   int
	repeats  int             // of what was answered with SUCCESS
	took     []time.Duration // until a good one was answered
	still    []time.Duration // until a forged one was, which waits for neither broker nor disk
	refused  map[int]int
	success  atomic.Int64
	lastGood atomic.Pointer[[]byte]
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	bin, dir := built(t), t.TempDir()
	s := &storm{t: t, taken: map[string]bool{}, sent: map[string]bool{}, refused: map[int]int{}}
	store := filepath.Join(dir, "nats")
	if err := os.Mkdir(store, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", store, "tmpfs", 0, "size=512m"); err != nil {
		t.Logf("the broker's disk is not filled: this process may not mount: %v", err)
	} else {
		s.disk = store
		t.Cleanup(func() { _ = syscall.Unmount(store, syscall.MNT_DETACH) })
	}
	s.nats = newBroker(t, filepath.Join(bin, "simctl"), store)
	var err error
	if s.bus, err = bus.Connect(bus.Config{URL: s.nats.url, Name: "storm"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.bus.Close)
	if err := s.bus.Provision(t.Context(), bus.DefaultSettings()); err != nil {
		t.Fatal(err)
	}
	dsn := warehousetest.DSN(t)
	if err := warehouse.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	if s.db, err = warehouse.Open(dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	addr := freeAddr(t)
	s.url = "http://" + addr + "/webhooks/eiotclub/default"
	s.ingest = s.worker("ingest", bin, dir, "EIOTCLUB_APP_SECRET="+stormSecret, "HTTP_ADDR="+addr, "SPOOL_DIR="+filepath.Join(dir, "spool"))
	s.archiver = s.worker("archiver", bin, dir, "CLICKHOUSE_DSN="+dsn, "ARCHIVE_MAX_DELAY=200ms", "ARCHIVE_LEASE=2s")
	return s
}

func (s *storm) worker(name, bin, dir string, env ...string) *e2e.Process {
	s.t.Helper()
	p, err := e2e.NewProcess(name, bin, dir, append(env, "NATS_URL="+s.nats.url))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := p.Stop(time.Minute); err != nil {
			s.t.Error(err)
		}
	})
	if err := p.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func freeAddr(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// send posts notifications, one in eight of them forged, one in eight a repeat.
func (s *storm) send(ctx context.Context, sender int) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(stormPause)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		<-tick.C
		id := fmt.Sprintf("%d-%d", sender, i)
		body := stormNotice(id, stormSecret)
		forged, repeat := false, false
		switch last := s.lastGood.Load(); {
		case i%8 == 3:
			forged = true
			body = stormForged("forged-"+id, i)
		case i%8 == 5 && last != nil:
			repeat, body = true, *last
		}
		begin := time.Now()
		status, answer, err := post(client, s.url, body)
		if err != nil {
			continue // ingest is being killed: nobody was told anything
		}
		s.note(id, body, time.Since(begin), status, strings.Contains(answer, "SUCCESS"), forged, repeat)
	}
}

func post(client *http.Client, url string, body []byte) (status int, answer string, err error) {
	resp, err := client.Post(url, "application/json;charset=utf-8", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func (s *storm) note(id string, body []byte, took time.Duration, status int, success, forged, repeat bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if forged {
		s.still = append(s.still, took)
	} else {
		s.took = append(s.took, took)
	}
	if !success {
		s.refused[status]++
	}
	switch {
	case forged:
		s.forged++
		if success {
			s.t.Errorf("a forged notification was answered with SUCCESS: %s", body)
		}
	case repeat:
		if success {
			s.repeats++
		}
	case success:
		s.taken[id] = true
		s.success.Add(1)
		s.lastGood.Store(&body)
	}
}

func stormNotice(id, secret string) []byte {
	at := time.Now().Unix()
	sum := sha1.Sum([]byte(fmt.Sprintf("event=CardStopped&iccid=89852012345678901234&id=%s&nonce=40604&timestamp=%d&secret=%s", id, at, secret)))
	return fmt.Appendf(nil, `{"event":"CardStopped","iccid":"89852012345678901234","id":%q,"nonce":40604,"sign":"%X","timestamp":%d}`, id, sum, at)
}

// stormForged is one of the ways to get in without the secret.
func stormForged(id string, i int) []byte {
	good := stormNotice(id, stormSecret)
	switch i / 8 % 4 {
	case 0:
		return stormNotice(id, "guessed")
	case 1:
		return bytes.Replace(good, []byte("CardStopped"), []byte("Refund"), 1)
	case 2:
		return bytes.Replace(good, []byte("40604"), []byte("40604.0"), 1)
	}
	return bytes.Replace(good, []byte(`"nonce"`), []byte(`"Id":"x","nonce"`), 1)
}

// step runs one misfortune and says how the answers were meanwhile: within a second,
// and what the machine stood still, busy with other tests.
func (s *storm) step(what string, do func()) {
	s.t.Helper()
	s.mu.Lock()
	s.took, s.still, s.refused = nil, nil, map[int]int{}
	s.mu.Unlock()
	before, begin := s.success.Load(), time.Now()
	do()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.took) == 0 || len(s.still) == 0 {
		s.t.Logf("%-30s %5.1fs", what, time.Since(begin).Seconds())
		return
	}
	p50, p99, still := share(s.took, 50), share(s.took, 99), share(s.still, 99)
	s.t.Logf("%-30s %5.1fs  %6d SUCCESS  p50 %s  p99 %s  p99 of refusing a forged one %s  not taken, by status: %v", what, time.Since(begin).Seconds(), s.success.Load()-before,
		p50.Round(10*time.Microsecond), p99.Round(10*time.Microsecond), still.Round(10*time.Microsecond), s.refused)
	if p99 >= time.Second+still {
		s.t.Errorf("%s: p99 of the answer is %s, that of an answer which waits for nothing %s", what, p99, still)
	}
}

// share is what so many of a hundred stay within.
func share(took []time.Duration, ofHundred int) time.Duration {
	slices.Sort(took)
	return took[len(took)*ofHundred/100]
}

// progress waits for so many more SUCCESS answers.
func (s *storm) progress() {
	s.t.Helper()
	n := s.success.Load() + int64(*stormAnswers)
	s.until("more SUCCESS answers", func() bool { return s.success.Load() >= n })
}

func (s *storm) until(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within a minute: %s\n%s", what, s.ingest.Tail(20))
		}
	}
}

// killIngest kills it in the middle of its work, some times.
func (s *storm) killIngest() {
	s.t.Helper()
	for range *stormKills {
		s.progress()
		if err := s.ingest.Kill(); err != nil {
			s.t.Fatal(err)
		}
		if err := s.ingest.Start(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
	s.progress()
}

func (s *storm) fillDisk() bool {
	if s.disk == "" {
		return false
	}
	f, err := os.Create(filepath.Join(s.disk, "filler"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); ; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return true
		} else if err != nil {
			s.t.Fatal(err)
		}
	}
}

// freeDisk makes room and restarts the broker, which refuses to write until then.
func (s *storm) freeDisk() {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.disk, "filler")); err != nil {
		s.t.Fatal(err)
	}
	s.nats.kill()
	s.nats.start()
}

// drained waits until nothing lies in the spool any more.
func (s *storm) drained() {
	s.t.Helper()
	s.until("spool drained", func() bool {
		resp, err := http.Get(s.ingest.Admin + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(b), "\nsimline_ingest_spool_messages 0\n") && strings.Contains(string(b), "\nsimline_ingest_broker_away 0\n")
	})
}

// books compares what was answered, what is stored and what came out.
func (s *storm) books() {
	s.t.Helper()
	stored := s.stored()
	lost, doubled, strange := 0, 0, 0
	for id := range s.taken {
		if stored[id] == 0 {
			lost++
			s.t.Errorf("%s was answered with SUCCESS and is not stored", id)
		}
	}
	total := uint64(0)
	for id, n := range stored {
		total += uint64(n)
		if n > 1 {
			doubled++
		}
		if strings.HasPrefix(id, "forged") {
			strange++
		}
	}
	var rows, distinct, mart uint64
	s.until("archived", func() bool {
		err := s.db.Conn().QueryRow(context.Background(), "SELECT count(), uniqExact(message_id) FROM simline.webhooks FINAL").Scan(&rows, &distinct)
		return err == nil && rows >= total
	})
	if err := s.db.Conn().QueryRow(context.Background(), "SELECT toUInt64(sum(notifications)) FROM mart.notifications_daily").Scan(&mart); err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("%d SUCCESS, %d repeats of them, %d forged, %d stored: SUCCESS − stored = %d, forged stored = %d, twice on the stream = %d, rows − messages = %d, counted twice downstream = %d; peak memory of ingest %d MiB",
		len(s.taken), s.repeats, s.forged, total, lost, strange, doubled, int64(rows)-int64(total), int64(mart)-int64(len(stored)), s.ingest.Peak()>>20)
	if lost+doubled+strange > 0 || rows != total || distinct != rows || mart != uint64(len(stored)) {
		s.t.Errorf("%d lost, %d twice, %d forged; %d rows with %d ids, %d in the mart, of %d messages", lost, doubled, strange, rows, distinct, mart, total)
	}
	if s.forged == 0 || s.repeats == 0 {
		s.t.Error("nothing was forged or repeated")
	}
}

// stored counts the messages on WEBHOOKS by notification.
func (s *storm) stored() map[string]int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := s.bus.JS.Stream(ctx, bus.StreamWebhooks)
	if err != nil {
		s.t.Fatal(err)
	}
	cons, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]int{}
	for n, want := uint64(0), stream.CachedInfo().State.Msgs; n < want; n++ {
		m, err := cons.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			s.t.Fatalf("message %d of %d: %v", n+1, want, err)
		}
		out[strings.TrimPrefix(m.Headers().Get(bus.HeaderMsgID), "eiotclub:default:")]++
	}
	return out
}

// broker is a NATS server in a process of its own.
type broker struct {
	t             *testing.T
	bin, dir, url string
	port          string
	cmd           *exec.Cmd
}

func newBroker(t *testing.T, simctl, dir string) *broker {
	t.Helper()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	b := &broker{t: t, bin: simctl, dir: dir, url: "nats://" + addr, port: port}
	t.Cleanup(b.kill)
	b.start()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return b
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func (b *broker) start() {
	b.t.Helper()
	b.cmd = exec.Command(b.bin, "dev", "--only", "nats", "--data-dir", b.dir, "--port", "nats="+b.port)
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) signal(sig syscall.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(sig); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) kill() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait() // says that it was killed
}
