package feed

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jlaffaye/ftp"
	"github.com/simline/simline/internal/sim/fault"
)

// Header is the first row of a file, with the page's column names (D); whether real files have one is not said.
const Header = "id,start_time,stop_time,iccid,imsi,data_usage,imei,mccmnc"

// file is one CSV file before it goes out.
type file struct {
	name     string
	from, to time.Time
	rows     []string
	body     []byte
	records  int
	bad      int
	how      How
	faults   []string
}

// How says what goes wrong while a file is uploaded.
type How struct {
	Pause time.Duration // after half of it
	Abort bool          // the connection dies after half of it
}

// file gathers the records of the past hour: those that ended in it. apply makes its bytes. The caller holds the lock.
func (f *Feed) file(lag time.Duration) file {
	x := file{from: f.now.Add(-time.Hour), to: f.now}
	x.name = fileName(f.cfg.Account, x.from, x.to, x.to.Add(lag))
	x.rows = make([]string, 0, len(f.last[0])+len(f.last[1]))
	var buf []byte
	for _, half := range f.last {
		for _, r := range half {
			buf = appendRow(buf[:0], r)
			x.rows = append(x.rows, string(buf))
		}
	}
	x.records = len(x.rows)
	return x
}

func appendRow(b []byte, r Record) []byte {
	b = strconv.AppendInt(b, r.ID, 10)
	b = r.Start.UTC().AppendFormat(append(b, ','), time.DateTime)
	b = r.Stop.UTC().AppendFormat(append(b, ','), time.DateTime)
	b = append(append(append(append(b, ','), r.ICCID...), ','), r.IMSI...)
	b = strconv.AppendInt(append(b, ','), r.Bytes, 10)
	return append(append(append(append(b, ','), r.IMEI...), ','), r.MCCMNC...)
}

// badRows are rows that are no records, each in another way.
var badRows = []string{
	"12345,2026-01-15 00:00:00,2026-01-15 00:01:00,8988308650100524999,460011234567890,100,490154203237518", // seven columns
	"not-a-number,2026-01-15 00:00:00,2026-01-15 00:01:00,8988308650100524999,460011234567890,100,,26201",
	"12346,2026-01-15T00:00:00Z,2026-01-15 00:01:00,8988308650100524999,460011234567890,100,,26201",
	"12347,2026-01-15 00:00:00,2026-01-15 00:01:00,8988308650100524999,460011234567890,1e3,,26201",
	"12348,2026-01-15 00:00:00,2026-01-15 00:01:00,,460011234567890,100,,26201",
	"9223372036854775808,2026-01-15 00:00:00,2026-01-15 00:01:00,8988308650100524999,460011234567890,100,,26201",
	"12349,2026-13-41 00:00:00,2026-01-15 00:01:00,8988308650100524999,460011234567890,100,,26201",
	"12350,2026-01-15 00:00:00,2026-01-15 00:01:00,8988308650100524999,460011234567890,-5,,26201",
}

// apply renders the rows under the rules that met the file.
func (x *file) apply(rules []fault.Rule) {
	rows := x.rows
	for _, r := range rules {
		x.faults = append(x.faults, string(r.Kind))
		switch r.Kind {
		case fault.FileHalf:
			x.how.Pause = cmp.Or(time.Duration(r.Delay), 500*time.Millisecond)
		case fault.FileAbort:
			x.how.Abort = true
		case fault.FileBadRows:
			n := cmp.Or(r.Count, 3)
			rows = spread(rows, n)
			x.bad = n
		case fault.FileEmptyIMEIs:
			rows = withoutIMEI(rows)
		}
	}
	has := func(k fault.Kind) bool { _, ok := fault.Has(rules, k); return ok }
	eol := "\n"
	if has(fault.FileCRLF) {
		eol = "\r\n"
	}
	if !has(fault.FileNoHeader) {
		rows = append([]string{Header}, rows...)
	}
	if has(fault.FileQuotes) {
		quoted := make([]string, len(rows))
		for i, r := range rows {
			quoted[i] = `"` + strings.ReplaceAll(r, ",", `","`) + `"`
		}
		rows = quoted
	}
	var b bytes.Buffer
	if has(fault.FileBOM) {
		b.WriteString("\ufeff")
	}
	for i, r := range rows {
		b.WriteString(r)
		if i < len(rows)-1 || !has(fault.FileNoLastEOL) {
			b.WriteString(eol)
		}
	}
	x.body = b.Bytes()
}

// spread puts n bad rows among the good ones, evenly.
func spread(rows []string, n int) []string {
	out := make([]string, 0, len(rows)+n)
	for i := range n {
		lo, hi := len(rows)*i/n, len(rows)*(i+1)/n
		out = append(append(out, badRows[i%len(badRows)]), rows[lo:hi]...)
	}
	return out
}

func withoutIMEI(rows []string) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		cols := strings.Split(r, ",")
		if len(cols) == 8 {
			cols[6] = ""
		}
		out[i] = strings.Join(cols, ",")
	}
	return out
}

// errAborted is what an upload that dies half way reports.
var errAborted = errors.New("upload aborted half way, as a fault rule says")

// uploading reads a body as How says.
type uploading struct {
	ctx  context.Context
	body []byte
	pos  int
	how  How
}

func (u *uploading) Read(p []byte) (int, error) {
	half := len(u.body) / 2
	end := len(u.body)
	if u.pos < half && (u.how.Pause > 0 || u.how.Abort) {
		end = half
	} else if u.pos == half {
		if u.how.Abort {
			return 0, errAborted
		}
		if u.how.Pause > 0 {
			fault.Sleep(u.ctx, u.how.Pause)
			u.how.Pause = 0
		}
	}
	if u.pos >= len(u.body) {
		return 0, io.EOF
	}
	n := copy(p, u.body[u.pos:end])
	u.pos += n
	return n, nil
}

// ToDir pushes into a directory of this machine, under the final name from the first byte on, as an FTP server does.
func ToDir(dir string) func(context.Context, string, []byte, How) error {
	return func(ctx context.Context, name string, body []byte, how How) error {
		w, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		_, err = io.Copy(w, struct{ io.Reader }{&uploading{ctx: ctx, body: body, how: how}})
		return errors.Join(err, w.Close())
	}
}

// ToFTP pushes over plain FTP, one session a file, to ftp://user:password@host:port/dir.
func ToFTP(raw string) (func(context.Context, string, []byte, How) error, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "ftp" || u.Host == "" {
		return nil, errors.New("feed: want ftp://user:password@host:port/dir")
	}
	pass, _ := u.User.Password()
	return func(ctx context.Context, name string, body []byte, how How) error {
		c, err := ftp.Dial(u.Host, ftp.DialWithContext(ctx), ftp.DialWithTimeout(10*time.Second), ftp.DialWithShutTimeout(10*time.Second))
		if err != nil {
			return fmt.Errorf("dialling: %w", err)
		}
		defer c.Quit()
		if err := c.Login(u.User.Username(), pass); err != nil {
			return fmt.Errorf("logging in: %w", err)
		}
		if err := c.Stor(path.Join(u.Path, name), &uploading{ctx: ctx, body: body, how: how}); err != nil {
			return fmt.Errorf("storing: %w", err)
		}
		return nil
	}, nil
}
