package chd

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// errAnswered: the error has been told to the client inside the answer.
var errAnswered = errors.New("told in the answer")

// answer writes a result as it comes. The headers go out with the first bytes,
// so that an error before them still has a status of its own.
type answer struct {
	w     http.ResponseWriter
	req   request
	began time.Time
	enc   *reencoder
	dir   string
	sum   summary

	out  io.WriteCloser // nil before the first byte
	buf  *bufio.Writer
	tag  string
	hold *os.File // all of it, when the client waits for the end of the query
}

func (a *answer) write(chunk []byte) (err error) {
	if a.req.format == "Native" && a.req.version > 0 {
		if chunk, err = a.enc.encode(chunk); err != nil {
			return err
		}
	}
	if a.req.wait {
		if a.hold == nil {
			if a.hold, err = spoolFile(a.dir); err != nil {
				return err
			}
		}
		_, err = a.hold.Write(chunk)
		return err
	}
	if err := a.open(); err != nil {
		return err
	}
	_, err = a.out.Write(chunk)
	return err
}

func (a *answer) open() (err error) {
	if a.out != nil {
		return nil
	}
	a.headers()
	a.tag = randomHex(8)
	a.w.Header().Set("X-ClickHouse-Exception-Tag", a.tag)
	a.buf = bufio.NewWriterSize(a.w, 64<<10)
	a.out, err = a.req.out.writer(a.w.Header(), a.buf)
	return err
}

func (a *answer) headers() {
	hd := a.w.Header()
	hd.Set("Content-Type", contentType(a.req.format))
	hd.Set("X-ClickHouse-Format", a.req.format)
	hd.Set("X-ClickHouse-Summary", a.sum.json(time.Since(a.began)))
}

// finish ends the answer, or tells an error: by status while nothing has gone
// out, inside the answer otherwise.
func (a *answer) finish(err error) error {
	if a.hold != nil {
		defer a.hold.Close()
		if err == nil {
			err = a.release()
		}
	}
	switch {
	case err != nil && a.out == nil:
		return err
	case err != nil:
		_ = a.out.Close()
		writeException(a.buf, a.tag, err.Error())
		_ = a.buf.Flush()
		return errAnswered
	case a.out == nil:
		a.headers()
		a.w.WriteHeader(http.StatusOK)
		return nil
	}
	if err := errors.Join(a.out.Close(), a.buf.Flush()); err != nil {
		return errAnswered // the client went away: nobody is left to tell
	}
	return nil
}

func (a *answer) release() error {
	if _, err := a.hold.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the answer again: %w", err)
	}
	if err := a.open(); err != nil {
		return err
	}
	_, err := io.Copy(struct{ io.Writer }{a.out}, a.hold)
	return err
}

// writeException puts an error behind data that has gone out already, framed as
// the server frames it, so that a driver finds it.
func writeException(w io.Writer, tag, msg string) {
	const most = 16 << 10 // what readers allow for the whole frame
	msg = msg[:min(len(msg), most-256)]
	var b bytes.Buffer
	fmt.Fprintf(&b, "\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", tag, msg, len(msg)+1, tag)
	_, _ = w.Write(b.Bytes()) // the client may be gone
}

// summary is what a statement did.
type summary struct{ readRows, readBytes, writtenRows, writtenBytes uint64 }

func (s summary) json(took time.Duration) string {
	return fmt.Sprintf(`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d","total_rows_to_read":"0","result_rows":"0","result_bytes":"0","elapsed_ns":"%d"}`,
		s.readRows, s.readBytes, s.writtenRows, s.writtenBytes, took.Nanoseconds())
}

func contentType(format string) string {
	switch format {
	case "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "TabSeparatedWithNames", "TabSeparatedWithNamesAndTypes", "TSVWithNames", "TSVWithNamesAndTypes":
		return "text/tab-separated-values; charset=UTF-8"
	case "CSV", "CSVWithNames", "CSVWithNamesAndTypes":
		return "text/csv; charset=UTF-8; header=absent"
	case "JSON", "JSONCompact", "JSONStrings", "JSONColumns":
		return "application/json; charset=UTF-8"
	case "JSONEachRow", "JSONCompactEachRow":
		return "application/x-ndjson; charset=UTF-8"
	case "Native", "RowBinary", "RowBinaryWithNames", "RowBinaryWithNamesAndTypes", "Parquet", "Arrow", "ArrowStream":
		return "application/octet-stream"
	}
	return "text/plain; charset=UTF-8"
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// newQueryID is for requests that brought none.
func newQueryID() string {
	h := randomHex(16)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
