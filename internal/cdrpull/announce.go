package cdrpull

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/ftpdir"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

const source = "cdrpull"

// announce puts a settled file into the queue.
func (w *Worker) announce(ctx context.Context, a account, name cdr.Name, e ftpdir.Entry, st fileState) error {
	ctx, span := w.trace.Begin(ctx, "", "cdr announce", trace.Producer)
	defer span.End()
	span.Set("simline.file", e.Name)
	next := fileState{State: stateAnnounced, Size: e.Size, Modified: e.Modified, Try: st.Try + 1, At: time.Now().UTC(), SHA256: st.SHA256, Checked: st.Checked, revision: st.revision}
	next.Asked = st.Asked
	switch {
	case st.State == stateUnended && same(st, e):
		next.State = stateWaited
	case st.ordered():
		next.State = st.State // its message was lost, the wish was not
	}
	// The state first: whoever gets the message reads it. A message that never
	// followed is made up for by requeueAfter.
	_, err := w.states.put(ctx, fileKey(a.name, e.Name), next)
	if errors.Is(err, errMoved) {
		return nil // another replica was faster, or its load has just ended
	}
	if err != nil {
		return err
	}
	// If we die here: the file counts as announced although it is not; once the
	// queue is empty it is announced again.
	return publishFile(ctx, w.bus, a.name, name, next, w.now())
}

// publishFile publishes the message that makes some replica load a file.
func publishFile(ctx context.Context, b *bus.Bus, account string, name cdr.Name, st fileState, at time.Time) error {
	f := wire.CDRToRead{CDRFile: fileOf(account, name, st.Size)}
	id := fmt.Sprintf("cdr-file:%s:%s:%d", f.Account, f.File, st.Try)
	_, err := publish(ctx, b, wire.TypeCDRFile, bus.SubjectCDRFile(f.Account), f.File, id, at, f)
	return err
}

func fileOf(account string, name cdr.Name, size int64) wire.CDRFile {
	return wire.CDRFile{Account: account, File: name.String(), Size: size, WindowStart: name.Start, WindowEnd: name.End, GeneratedAt: name.Generated}
}

// publishLoaded says that a file is in, once per loading of a content.
func (w *Worker) publishLoaded(ctx context.Context, rec warehouse.File) error {
	id := fmt.Sprintf("cdr-loaded:%s:%s:%s:%d", rec.Account, rec.File, rec.SHA256, rec.LoadedAt.UnixMilli())
	_, err := publish(ctx, w.bus, wire.TypeCDRLoaded, bus.SubjectCDRLoaded(rec.Account), rec.File, id, w.now(), wire.CDRLoaded{
		CDRFile: wire.CDRFile{Account: rec.Account, File: rec.File, Size: rec.Size, WindowStart: rec.WindowStart.UTC(),
			WindowEnd: rec.WindowEnd.UTC(), GeneratedAt: rec.GeneratedAt.UTC()},
		SHA256: rec.SHA256, Rows: rec.Rows, Inserted: rec.Inserted, Known: rec.Known, Rejects: rec.Rejects,
		Conflicts: rec.Conflicts, Bytes: rec.Bytes, LoadedAt: rec.LoadedAt.UTC(),
	})
	return err
}

// publish returns the message's place in its stream.
func publish(ctx context.Context, b *bus.Bus, typ, subject, about, id string, at time.Time, data any) (uint64, error) {
	env, err := wire.NewEnvelope(typ, wire.Source(source), about, id, at, data)
	if err != nil {
		return 0, err
	}
	body, err := env.Marshal()
	if err != nil {
		return 0, err
	}
	ack, err := b.Publish(ctx, bus.NewMsg(subject, id, body))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// queueEmpty: no file message waits or is being worked on.
func (w *Worker) queueEmpty(ctx context.Context) bool {
	ctx, cancel := answered(ctx)
	defer cancel()
	cons, err := w.bus.JS.Consumer(ctx, bus.StreamCDR, bus.ConsumerCDRPull)
	if err != nil {
		return false
	}
	info := cons.CachedInfo() // Consumer has just asked for it
	return info.NumPending == 0 && info.NumAckPending == 0
}

// accountOf is the account's name in a state's key; empty for a gap's.
func accountOf(key string) string {
	name, file, _ := strings.Cut(key, ".")
	if strings.HasPrefix(file, "cdr_") {
		return name
	}
	return ""
}
