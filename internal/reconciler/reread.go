package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// filesOf are the CDR files that may hold records of a stretch, and what was found
// about it so far.
type filesOf struct {
	suspect, whole   []warehouse.File // not loaded whole; loaded whole
	missing, surplus bool
}

// files lists them. A record counts for the day that it began in and comes in a
// file of the time that it ended in, most within the hour.
func (p *usagePass) files(ctx context.Context, s stretch) (*filesOf, error) {
	files, err := p.Books.FilesSince(ctx, p.account.Name, s.from.UTC())
	if err != nil {
		return nil, err
	}
	out := &filesOf{}
	for _, f := range files {
		switch {
		case !f.WindowStart.Before(s.to.Add(time.Hour)):
		case f.State == warehouse.FileLoaded && f.Conflicts == 0:
			out.whole = append(out.whole, f)
		default:
			out.suspect = append(out.suspect, f)
		}
	}
	return out, nil
}

// explain names the files that may have to do with a difference.
func (f *filesOf) explain() string {
	const most = 5
	if len(f.suspect) == 0 {
		return "cdr/traffic/query; no file of that time is held, cut, or has rejects or conflicts"
	}
	var names []string
	for _, s := range f.suspect[:min(len(f.suspect), most)] {
		names = append(names, s.File+" ("+s.State+")")
	}
	if more := len(f.suspect) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return "cdr/traffic/query; files that may explain it: " + strings.Join(names, ", ")
}

// wishes are the files that were asked to be read again, by account and stretch,
// for as long as something of that stretch differs.
type wishes map[string]map[string]bool

// maxWishes bounds what is asked for and remembered; a day has some 48 files.
const maxWishes = 5000

func readWishes(notes json.RawMessage) (wishes, error) {
	w := wishes{}
	if len(notes) > 0 {
		if err := json.Unmarshal(notes, &w); err != nil {
			return nil, fmt.Errorf("notes: %w", err)
		}
	}
	return w, nil
}

// standing drops what was asked for a stretch that agrees by now.
func (w wishes) standing(sitting *Sitting) wishes {
	out := wishes{}
	for _, about := range sitting.Abouts() {
		stretch := about[:strings.LastIndexByte(about, '/')]
		if files := w[stretch]; files != nil {
			out[stretch] = files
		}
	}
	return out
}

func (w wishes) count() (n int) {
	for _, files := range w {
		n += len(files)
	}
	return n
}

// reread asks cdrpull to read again what may explain a day's differences: files that
// were not loaded whole and, if bytes are missing and there is no such file, all of
// that day, since a row may have been lost on our side. Each is asked for once while
// the day differs, however many cards do: what does not help does not help twice.
func (p *usagePass) reread(ctx context.Context, s stretch, files *filesOf) error {
	if s.month || p.run.Dry || !files.missing && !files.surplus {
		return nil
	}
	ask, kind := files.suspect, KindUsageMissing
	if !files.missing {
		kind = KindUsageSurplus
	} else if len(ask) == 0 {
		ask = files.whole
	}
	stretch := strings.TrimSuffix(p.about(s.name(), ""), "/")
	for _, f := range ask {
		if p.wishes[stretch][f.File] || p.wishes.count() >= maxWishes {
			continue
		}
		if err := p.wish(ctx, f, kind, stretch); err != nil {
			return err
		}
		// If we die here: the file is read once more, which changes nothing.
		if p.wishes[stretch] == nil {
			p.wishes[stretch] = map[string]bool{}
		}
		p.wishes[stretch][f.File] = true
		p.Metrics.rereads.WithLabelValues(p.account.Name).Inc()
	}
	return nil
}

func (p *usagePass) wish(ctx context.Context, f warehouse.File, kind, stretch string) error {
	id := "reread:" + stretch + ":" + f.File + ":" + fmt.Sprint(f.UpdatedAt.UnixMilli())
	env, err := wire.NewEnvelope(wire.TypeCDRFile, wire.Source("reconciler"), f.File, id, p.run.Now, wire.CDRToRead{
		CDRFile: wire.CDRFile{Account: f.Account, File: f.File, Size: f.Size, WindowStart: f.WindowStart, WindowEnd: f.WindowEnd, GeneratedAt: f.GeneratedAt},
		Reread:  "reconciler: " + kind + " of " + stretch})
	if err != nil {
		return err
	}
	data, err := env.Marshal()
	if err != nil {
		return err
	}
	if _, err := p.Bus.Publish(ctx, bus.NewMsg(bus.SubjectCDRFile(f.Account), id, data)); err != nil {
		return fmt.Errorf("ask for %s to be read again: %w", f.File, err)
	}
	return nil
}
