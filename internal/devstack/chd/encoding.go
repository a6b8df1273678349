package chd

import (
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"

	chcompress "github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// decodeBody undoes what the client did to its body: HTTP's own encoding outside,
// ClickHouse's compressed frames (decompress=1) inside.
func decodeBody(r *http.Request) (io.Reader, error) {
	var body io.Reader = r.Body
	var err error
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		body, err = gzip.NewReader(r.Body)
	case "deflate":
		body, err = zlib.NewReader(r.Body)
	case "br":
		body = brotli.NewReader(r.Body)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1)); err == nil {
			body = z.IOReadCloser()
		}
	case "lz4":
		body = lz4.NewReader(r.Body)
	default:
		return nil, badRequest("Content-Encoding %q is not known", enc)
	}
	if err != nil {
		return nil, badRequest("Content-Encoding %s: %v", r.Header.Get("Content-Encoding"), err)
	}
	if isOn(r.URL.Query().Get("decompress")) {
		body = frameReader{chcompress.NewReader(body)}
	}
	return body, nil
}

// frameReader gives the end of the last frame its plain name, which the library
// wraps and io.Copy would not know.
type frameReader struct{ r io.Reader }

func (f frameReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}

// outEncoding is how the client wants its answer.
type outEncoding struct {
	frames bool              // ClickHouse's compressed frames
	method chcompress.Method // in the frames
	http   string            // HTTP's own Content-Encoding, empty for none
}

func outEncodingOf(r *http.Request, q url.Values) outEncoding {
	e := outEncoding{frames: isOn(q.Get("compress")), method: chcompress.LZ4}
	if strings.EqualFold(q.Get("network_compression_method"), "ZSTD") {
		e.method = chcompress.ZSTD
	}
	if isOn(q.Get("enable_http_compression")) {
		for _, name := range []string{"gzip", "deflate", "br"} {
			if strings.Contains(r.Header.Get("Accept-Encoding"), name) {
				e.http = name
				break
			}
		}
	}
	return e
}

func (e outEncoding) writer(hd http.Header, w io.Writer) (io.WriteCloser, error) {
	if e.http != "" {
		hd.Set("Content-Encoding", e.http)
	}
	var z io.WriteCloser = nopCloser{w}
	var err error
	switch e.http {
	case "gzip":
		z, err = gzip.NewWriterLevel(w, flate.BestSpeed)
	case "deflate":
		z, err = zlib.NewWriterLevel(w, flate.BestSpeed)
	case "br":
		z = brotli.NewWriterLevel(w, brotli.BestSpeed)
	}
	if err != nil {
		return nil, fmt.Errorf("compress the answer: %w", err)
	}
	if e.frames {
		return &frameWriter{w: z, c: chcompress.NewWriter(chcompress.LevelZero, e.method)}, nil
	}
	return z, nil
}

// frameWriter packs each write into ClickHouse's compressed frames.
type frameWriter struct {
	w io.WriteCloser
	c *chcompress.Writer
}

func (f *frameWriter) Write(p []byte) (int, error) {
	const most = 1 << 20 // the server's own frame size
	for i := 0; i < len(p); i += most {
		if err := f.c.Compress(p[i:min(i+most, len(p))]); err != nil {
			return i, fmt.Errorf("compress: %w", err)
		}
		if _, err := f.w.Write(f.c.Data); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func (f *frameWriter) Close() error { return f.w.Close() }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// spool copies data into a file that has no name any more: it goes with its last
// descriptor, kill -9 included. Most are read back before the kernel writes them.
func spool(dir string, data io.Reader, format string) (*os.File, error) {
	f, err := spoolFile(dir)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, data, make([]byte, 256<<10)); err != nil {
		f.Close()
		return nil, err
	}
	if format == "Values" {
		if err := dropSemicolon(f); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

func spoolFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "spool-")
	if err != nil {
		return nil, fmt.Errorf("spool file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("spool file: %w", err)
	}
	return f, nil
}

// pathOf is a name under which this process can open a file that has none.
func pathOf(f *os.File) string {
	if runtime.GOOS == "linux" {
		return fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	}
	return fmt.Sprintf("/dev/fd/%d", f.Fd())
}

// dropSemicolon cuts the end of a statement off its VALUES.
func dropSemicolon(f *os.File) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	from := max(0, end-64)
	tail := make([]byte, end-from)
	if _, err := f.ReadAt(tail, from); err != nil {
		return err
	}
	cut := strings.TrimRight(string(tail), " \t\r\n;")
	return f.Truncate(from + int64(len(cut)))
}
