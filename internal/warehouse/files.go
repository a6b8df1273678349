package warehouse

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// States of a CDR file in simline.cdr_files.
const (
	FileLoading     = "loading"      // rows may be there, some or all
	FileLoaded      = "loaded"       // every row is there
	FileWithRejects = "with_rejects" // every good row is there, bad ones are set aside
	FileHeld        = "held"         // nothing was loaded: a person must look
)

// File is one content of one CDR file, as simline.cdr_files has it.
type File struct {
	Account string
	File    string
	SHA256  string // hex
	Content uint16 // how many contents came under this name before this one
	State   string
	Reason  string // why it is held

	Size        int64
	WindowStart time.Time
	WindowEnd   time.Time
	GeneratedAt time.Time

	Lines, Rows, Inserted, Known, Rejects, Conflicts, Outside int64
	Bytes                                                     int64

	FirstHour, LastHour time.Time // of good rows; zero if there is none
	FirstLoaded         time.Time // zero: never loaded
	LoadedAt            time.Time
	UpdatedAt           time.Time
}

// Loaded reports whether all good rows of this content are in.
func (f File) Loaded() bool { return f.State == FileLoaded || f.State == FileWithRejects }

const fileColumns = "account, file, sha256, content, state, reason, size, window_start, window_end, generated_at, " +
	"lines, rows, inserted, known, rejects, conflicts, outside, bytes, first_hour, last_hour, first_loaded, loaded_at, updated_at"

// PutFile writes the file's state; the latest UpdatedAt counts. A repeat is harmless.
func (db *DB) PutFile(ctx context.Context, f File) error {
	token := fmt.Sprintf("file-%s-%s-%s-%d", f.Account, f.File, f.SHA256, f.UpdatedAt.UnixNano())
	batch, err := db.conn.PrepareBatch(inserting(ctx, token), "INSERT INTO simline.cdr_files ("+fileColumns+")")
	if err != nil {
		return fmt.Errorf("record file %s as %s: %w", f.File, f.State, err)
	}
	if err := batch.Append(f.Account, f.File, f.SHA256, f.Content, f.State, f.Reason, uint64(f.Size), f.WindowStart, f.WindowEnd, f.GeneratedAt,
		uint64(f.Lines), uint64(f.Rows), uint64(f.Inserted), uint64(f.Known), uint64(f.Rejects), uint64(f.Conflicts), uint64(f.Outside), uint64(f.Bytes),
		epoch(f.FirstHour), epoch(f.LastHour), epoch(f.FirstLoaded), epoch(f.LoadedAt), f.UpdatedAt); err != nil {
		_ = batch.Abort()
		return fmt.Errorf("record file %s as %s: %w", f.File, f.State, err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("record file %s as %s: %w", f.File, f.State, err)
	}
	return nil
}

// FilesNamed lists the contents seen under one name, the first content first; an
// empty account means any.
func (db *DB) FilesNamed(ctx context.Context, account, file string) ([]File, error) {
	return db.files(ctx, "(account = ? OR ? = '') AND file = ? ORDER BY account, content, sha256", account, account, file)
}

// CDRAccounts are the names of the accounts that ever had a file.
func (db *DB) CDRAccounts(ctx context.Context) ([]string, error) {
	var names []string
	if err := db.conn.QueryRow(ctx, "SELECT groupUniqArray(toString(account)) FROM simline.cdr_files").Scan(&names); err != nil {
		return nil, fmt.Errorf("list accounts with CDR files: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// FilesSince lists files of account (of all, if empty) whose window ends after
// since, by window.
func (db *DB) FilesSince(ctx context.Context, account string, since time.Time) ([]File, error) {
	return db.files(ctx, "(account = ? OR ? = '') AND window_end > ? ORDER BY account, window_start, window_end, generated_at, content", account, account, since)
}

func (db *DB) files(ctx context.Context, where string, args ...any) ([]File, error) {
	rows, err := db.conn.Query(ctx, "SELECT "+fileColumns+" FROM simline.cdr_files FINAL WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list CDR files: %w", err)
	}
	defer rows.Close()
	var out []File
	for rows.Next() {
		var f File
		var n [9]uint64
		if err := rows.Scan(&f.Account, &f.File, &f.SHA256, &f.Content, &f.State, &f.Reason, &n[0], &f.WindowStart, &f.WindowEnd, &f.GeneratedAt,
			&n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7], &n[8],
			&f.FirstHour, &f.LastHour, &f.FirstLoaded, &f.LoadedAt, &f.UpdatedAt); err != nil {
			return nil, fmt.Errorf("list CDR files: %w", err)
		}
		for i, p := range []*int64{&f.Size, &f.Lines, &f.Rows, &f.Inserted, &f.Known, &f.Rejects, &f.Conflicts, &f.Outside, &f.Bytes} {
			*p = int64(n[i])
		}
		for _, t := range []*time.Time{&f.FirstHour, &f.LastHour, &f.FirstLoaded, &f.LoadedAt} {
			if t.Unix() == 0 {
				*t = time.Time{}
			}
		}
		out = append(out, f)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list CDR files: %w", err)
	}
	return out, nil
}

// SayLateAfter tells the marts after how long an uncovered half hour is late, in
// whole seconds. It writes only what is news.
func (db *DB) SayLateAfter(ctx context.Context, d time.Duration) error {
	seconds := uint32(d / time.Second)
	if err := db.conn.Exec(ctx, "INSERT INTO simline.cdr_terms (name, seconds, said_at) SELECT 'late_after', ?, now64(6, 'UTC') "+
		"WHERE NOT (SELECT count() > 0 AND any(seconds) = ? FROM simline.cdr_terms FINAL WHERE name = 'late_after')", seconds, seconds); err != nil {
		return fmt.Errorf("tell the marts what is late: %w", err)
	}
	return nil
}

// Window is a stretch of time that a loaded file covers.
type Window struct{ Start, End time.Time }

// LoadedWindows lists what the account's loaded files cover, by start.
func (db *DB) LoadedWindows(ctx context.Context, account string) ([]Window, error) {
	rows, err := db.conn.Query(ctx, "SELECT DISTINCT window_start, window_end FROM simline.cdr_files FINAL "+
		"WHERE account = ? AND state IN (?, ?) ORDER BY window_start, window_end", account, FileLoaded, FileWithRejects)
	if err != nil {
		return nil, fmt.Errorf("list loaded windows: %w", err)
	}
	defer rows.Close()
	var out []Window
	for rows.Next() {
		var w Window
		if err := rows.Scan(&w.Start, &w.End); err != nil {
			return nil, fmt.Errorf("list loaded windows: %w", err)
		}
		out = append(out, w)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list loaded windows: %w", err)
	}
	return out, nil
}

// epoch is 1970 for the zero time, which the columns cannot hold.
func epoch(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return t
}
