package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/simline/simline/internal/bus"
)

// SpoolFile is one file of a spool, as a person may look at it.
type SpoolFile struct {
	Path     string    `json:"path"`
	Bytes    int64     `json:"bytes"`
	Messages int       `json:"messages"` // whole ones
	Damaged  bool      `json:"damaged"`  // there is something else in it as well
	Modified time.Time `json:"modified"`
	Subjects []string  `json:"subjects"` // that its messages are for, each once
}

// ReadSpool lists the files of a spool's directory, also while ingest uses it:
// those that wait, and those that were kept aside for a person.
func ReadSpool(dir string) ([]SpoolFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var out []SpoolFile
	for _, e := range entries {
		if name := e.Name(); !strings.HasSuffix(name, spoolExt) && !strings.HasSuffix(name, damagedExt) && name != asideName {
			continue
		}
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // drained meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		f := SpoolFile{Path: path, Bytes: int64(len(b))}
		if info, err := e.Info(); err == nil {
			f.Modified = info.ModTime().UTC()
		}
		frames, damaged := scanFrames(b)
		f.Messages, f.Damaged = len(frames), damaged
		seen := map[string]bool{}
		for _, fr := range frames {
			if !seen[fr.subject] {
				seen[fr.subject] = true
				f.Subjects = append(f.Subjects, fr.subject)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// DrainSpool brings what lies in a spool that no ingest uses to NATS and removes
// it, as ingest itself would; the volume of a replica that will not come back.
// progress is called after each file with the number of messages stored so far.
// What was stored before an error stays so.
func DrainSpool(ctx context.Context, dir string, b *bus.Bus, progress func(stored int)) (stored int, err error) {
	if _, err := os.Stat(dir); err != nil {
		return 0, fmt.Errorf("spool: %w", err) // and not a new, empty one
	}
	log := slog.New(slog.DiscardHandler)
	m := newMetrics(prometheus.NewRegistry(), func() float64 { return 0 })
	s, err := openSpool(dir, math.MaxInt64, log, m)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	commit, err := bus.NewCommitter(b, bus.CommitOptions{})
	if err != nil {
		return 0, err
	}
	defer commit.Close()
	w := &Worker{bus: b, commit: commit, spool: s, log: log, logLimit: rate.NewLimiter(5, 20), m: m}
	waiting := s.count.Load()
	for {
		more, err := w.drainFile(ctx)
		stored = int(waiting - s.count.Load())
		if err != nil || !more {
			return stored, err
		}
		progress(stored)
	}
}
