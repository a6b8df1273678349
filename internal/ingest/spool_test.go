package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"
)

func newSpool(t testing.TB, dir string, maxBytes int64) *spool {
	t.Helper()
	m := newMetrics(prometheus.NewRegistry(), func() float64 { return 0 })
	s, err := openSpool(dir, maxBytes, slog.New(slog.DiscardHandler), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	s.wait = patience
	return s
}

func note(i int) *message {
	return &message{subject: "webhooks.v1.eiotclub.default.FlowAlert", id: fmt.Sprintf("eiotclub:default:%d", i), trace: "00-1-2-01", data: []byte(fmt.Sprintf(`{"data":{"n":%d,"é":"\n"}}`, i))}
}

// contents reads what a spool's directory holds, in order.
func contents(t testing.TB, dir string) (frames []frame, damaged bool) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+spoolExt))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		f, d := scanFrames(b)
		frames, damaged = append(frames, f...), damaged || d
	}
	return frames, damaged
}

func TestSpoolKeepsOrderOverRestarts(t *testing.T) {
	dir := t.TempDir()
	n := 0
	for range 3 {
		s := newSpool(t, dir, 1<<30)
		for range 10 {
			if err := s.put(note(n)); err != nil {
				t.Fatal(err)
			}
			n++
		}
		if got := s.count.Load(); got != int64(n) {
			t.Errorf("%d messages counted, want %d", got, n)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	frames, damaged := contents(t, dir)
	if len(frames) != n || damaged {
		t.Fatalf("%d frames (damaged %v), want %d", len(frames), damaged, n)
	}
	for i, f := range frames {
		if f.n != uint64(i+1) || f.id != note(i).id || !bytes.Equal(f.data, note(i).data) || f.trace != note(i).trace || f.subject != note(i).subject {
			t.Fatalf("frame %d is %+v", i, f)
		}
	}
}

func TestSpoolManyWritersShareFsyncs(t *testing.T) {
	dir := t.TempDir()
	s := newSpool(t, dir, 1<<30)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if err := s.put(note(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	frames, _ := contents(t, dir)
	seen := map[string]bool{}
	for _, f := range frames {
		seen[f.id] = true
	}
	if len(frames) != 200 || len(seen) != 200 {
		t.Errorf("%d frames, %d ids", len(frames), len(seen))
	}
}

func TestSpoolIsBounded(t *testing.T) {
	s := newSpool(t, t.TempDir(), 3<<20)
	big := note(1)
	big.data = bytes.Repeat([]byte("x"), 1<<20)
	var err error
	taken := 0
	for ; err == nil && taken < 10; taken++ {
		err = s.put(big)
	}
	if !errors.Is(err, errSpoolFull) || taken != 3 {
		t.Errorf("put %d ended with %v", taken, err)
	}
	if !s.full() {
		t.Error("it does not know that it is full")
	}
	if err := s.put(note(2)); err != nil {
		t.Errorf("a small one still fits: %v", err)
	}
}

func TestSpoolIsLocked(t *testing.T) {
	dir := t.TempDir()
	newSpool(t, dir, 1<<30)
	_, err := openSpool(dir, 1<<30, slog.New(slog.DiscardHandler), newMetrics(prometheus.NewRegistry(), nil))
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
}

func TestSpoolRefusesWhatIsNoText(t *testing.T) {
	for _, m := range []*message{{subject: "a\nb"}, {id: "\xff"}, {trace: "a\n"}, {data: make([]byte, maxPayload+1)}} {
		if _, err := appendFrame(nil, 1, m); err == nil {
			t.Errorf("%+.60v was taken", m)
		}
	}
}

// sample is a file of a few frames, and where each ends.
func sample(t testing.TB) (file []byte, want []*message, ends []int) {
	t.Helper()
	for i := range 5 {
		m := note(i)
		if i == 3 {
			m.extra = nats.Header{"Simline-Reason": {"stale"}}
		}
		var err error
		if file, err = appendFrame(file, uint64(i+1), m); err != nil {
			t.Fatal(err)
		}
		want, ends = append(want, m), append(ends, len(file))
	}
	return file, want, ends
}

func same(f frame, m *message) bool {
	return f.subject == m.subject && f.id == m.id && f.trace == m.trace && bytes.Equal(f.data, m.data) && f.extra.Get("Simline-Reason") == m.extra.Get("Simline-Reason")
}

func TestSpoolFileCutAnywhere(t *testing.T) {
	file, want, ends := sample(t)
	for cut := range len(file) + 1 {
		frames, damaged := scanFrames(file[:cut])
		whole, atEnd := 0, cut == 0
		for _, end := range ends {
			if end <= cut {
				whole++
			}
			atEnd = atEnd || end == cut
		}
		if len(frames) != whole || damaged == atEnd {
			t.Fatalf("cut at %d: %d frames of %d, damaged %v", cut, len(frames), whole, damaged)
		}
		for i, f := range frames {
			if !same(f, want[i]) {
				t.Fatalf("cut at %d: frame %d is %+v", cut, i, f)
			}
		}
	}
}

func TestSpoolFileFlippedAnywhere(t *testing.T) {
	file, want, ends := sample(t)
	for at := range file {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			broken := bytes.Clone(file)
			broken[at] ^= mask
			hit := 0
			for ends[hit] <= at {
				hit++
			}
			frames, damaged := scanFrames(broken)
			if len(frames) != len(want)-1 || !damaged {
				t.Fatalf("byte %d ^ %#x: %d frames, damaged %v", at, mask, len(frames), damaged)
			}
			for i, f := range frames {
				if i >= hit {
					i++
				}
				if !same(f, want[i]) {
					t.Fatalf("byte %d ^ %#x: %+v", at, mask, f)
				}
			}
		}
	}
}

// Whatever is done to a file, nothing comes back that was not put in.
func TestSpoolFileMangled(t *testing.T) {
	file, want, _ := sample(t)
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Clone(file)
		for range rapid.IntRange(1, 4).Draw(t, "faults") {
			if len(b) == 0 {
				break
			}
			at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
			switch rapid.SampledFrom([]string{"cut", "flip", "drop", "double"}).Draw(t, "fault") {
			case "cut":
				b = b[:at]
			case "flip":
				b[at] ^= rapid.Byte().Draw(t, "mask")
			case "drop":
				b = append(b[:at], b[min(len(b), at+rapid.IntRange(1, 200).Draw(t, "n")):]...)
			case "double":
				b = append(bytes.Clone(b[at:]), b...)
			}
		}
		frames, _ := scanFrames(b)
		for _, f := range frames {
			if f.n < 1 || f.n > uint64(len(want)) || !same(f, want[f.n-1]) {
				t.Fatalf("made up: %+v", f)
			}
		}
	})
}

func FuzzSpoolFile(f *testing.F) {
	file, _, _ := sample(f)
	f.Add(file)
	f.Add(file[:len(file)-3])
	f.Add([]byte(frameMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, _ := scanFrames(b)
		var out []byte
		for i := range frames {
			var err error
			if out, err = appendFrame(out, frames[i].n, &frames[i].message); err != nil {
				t.Fatalf("a frame that was read cannot be written: %v", err)
			}
		}
		if again, damaged := scanFrames(out); len(again) != len(frames) || damaged {
			t.Fatalf("%d frames became %d", len(frames), len(again))
		}
	})
}
