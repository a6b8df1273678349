package chd

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is libchdb's C interface, as far as we use it. Its handles point into
// the library's own memory, of which Go's collector knows nothing.
type library struct {
	connect      func(argc int32, argv **byte) unsafe.Pointer
	closeConn    func(conn unsafe.Pointer)
	query        queryFunc
	streamQuery  queryFunc
	streamFetch  func(conn, stream unsafe.Pointer) unsafe.Pointer
	streamCancel func(conn, stream unsafe.Pointer)
	destroy      func(result unsafe.Pointer)
	buffer       func(result unsafe.Pointer) *byte
	length       func(result unsafe.Pointer) uint64
	resultError  func(result unsafe.Pointer) *byte
	rowsRead     func(result unsafe.Pointer) uint64
	bytesRead    func(result unsafe.Pointer) uint64
	rowsWritten  func(result unsafe.Pointer) uint64
	bytesWritten func(result unsafe.Pointer) uint64
}

type queryFunc = func(conn unsafe.Pointer, sql *byte, n uintptr, format *byte, m uintptr,
	names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) unsafe.Pointer

// loadLibrary maps the shared library and takes its signal handlers away, which
// otherwise report a Go nil dereference as the engine's own crash.
func loadLibrary(path string) (*library, error) {
	h, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	lib := &library{}
	var setSignalHandlers func(enabled int32)
	for name, fn := range map[string]any{
		"chdb_connect":                     &lib.connect,
		"chdb_close_conn":                  &lib.closeConn,
		"chdb_query_with_params_n":         &lib.query,
		"chdb_stream_query_with_params_n":  &lib.streamQuery,
		"chdb_stream_fetch_result":         &lib.streamFetch,
		"chdb_stream_cancel_query":         &lib.streamCancel,
		"chdb_destroy_query_result":        &lib.destroy,
		"chdb_result_buffer":               &lib.buffer,
		"chdb_result_length":               &lib.length,
		"chdb_result_error":                &lib.resultError,
		"chdb_result_rows_read":            &lib.rowsRead,
		"chdb_result_bytes_read":           &lib.bytesRead,
		"chdb_result_rows_written":         &lib.rowsWritten,
		"chdb_result_bytes_written":        &lib.bytesWritten,
		"chdb_set_signal_handlers_enabled": &setSignalHandlers,
	} {
		sym, err := purego.Dlsym(h, name)
		if err != nil {
			return nil, fmt.Errorf("%s lacks %s: %w", path, name, err)
		}
		purego.RegisterFunc(fn, sym)
	}
	setSignalHandlers(0)
	return lib, nil
}

// conn is one session of the engine. Its methods must all be called from one
// locked OS thread.
type conn struct {
	lib    *library
	handle unsafe.Pointer // chdb_connection*
	inner  unsafe.Pointer // chdb_connection, which all calls but close take
}

func (lib *library) open(args ...string) (*conn, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	argv := cStrings(&pin, args)
	h := lib.connect(int32(len(args)), &argv[0])
	if h == nil {
		return nil, errors.New("the engine did not open its data directory")
	}
	return &conn{lib: lib, handle: h, inner: *(*unsafe.Pointer)(h)}, nil
}

func (c *conn) close() { c.lib.closeConn(c.handle) }

// engineError is the engine's own message, "Code: 60. DB::Exception: …".
type engineError string

func (e engineError) Error() string { return string(e) }

// query runs one statement to its end and returns its answer.
func (c *conn) query(sql, format string, params ...string) (out []byte, err error) {
	_, err = c.run(sql, format, params, func(b []byte) error {
		out = bytes.Clone(b)
		return nil
	})
	return out, err
}

// run runs one statement to its end and hands over its answer, all at once; the
// slice is valid during the call only. Params are the values of {name:Type}
// placeholders, name and value alternating.
func (c *conn) run(sql, format string, params []string, answer func([]byte) error) (summary, error) {
	res := c.start(c.lib.query, sql, format, params)
	defer c.lib.destroy(res)
	if err := c.err(res); err != nil {
		return summary{}, err
	}
	var sum summary
	sum.add(c, res)
	if data := c.bytes(res); len(data) > 0 && answer != nil {
		return sum, answer(data)
	}
	return sum, nil
}

// stream runs one statement and hands its answer on piece by piece, without
// holding all of it. An error from each cancels the statement.
func (c *conn) stream(sql, format string, params []string, each func([]byte) error) (sum summary, err error) {
	stream := c.start(c.lib.streamQuery, sql, format, params)
	defer c.lib.destroy(stream)
	if err := c.err(stream); err != nil {
		return sum, err
	}
	for {
		chunk := c.lib.streamFetch(c.inner, stream)
		if chunk == nil {
			return sum, errNoAnswer
		}
		err := c.err(chunk)
		data, rows := c.bytes(chunk), c.lib.rowsRead(chunk)
		sum.add(c, chunk)
		if err == nil && len(data) > 0 {
			if err = each(data); err != nil {
				c.lib.streamCancel(c.inner, stream)
			}
		}
		c.lib.destroy(chunk)
		if err != nil || len(data) == 0 && rows == 0 {
			return sum, err
		}
	}
}

func (s *summary) add(c *conn, res unsafe.Pointer) {
	s.readRows += c.lib.rowsRead(res)
	s.readBytes += c.lib.bytesRead(res)
	s.writtenRows += c.lib.rowsWritten(res)
	s.writtenBytes += c.lib.bytesWritten(res)
}

func (c *conn) start(call queryFunc, sql, format string, params []string) unsafe.Pointer {
	var pin runtime.Pinner
	defer pin.Unpin()
	n := len(params) / 2
	names, values := make([]string, n), make([]string, n)
	nameLens, valueLens := make([]uintptr, n+1), make([]uintptr, n+1)
	for i := range n {
		names[i], values[i] = params[2*i], params[2*i+1]
		nameLens[i], valueLens[i] = uintptr(len(names[i])), uintptr(len(values[i]))
	}
	ns, vs := cStrings(&pin, names), cStrings(&pin, values)
	f := cString(format)
	return call(c.inner, unsafe.StringData(sql+"\x00"), uintptr(len(sql)), f, uintptr(len(format)),
		&ns[0], &nameLens[0], &vs[0], &valueLens[0], uintptr(n))
}

var errNoAnswer = errors.New("the engine answered nothing")

func (c *conn) err(res unsafe.Pointer) error {
	if res == nil {
		return errNoAnswer
	}
	p := c.lib.resultError(res)
	if p == nil {
		return nil
	}
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return engineError(strings.Clone(unsafe.String(p, n)))
}

func (c *conn) bytes(res unsafe.Pointer) []byte {
	n := c.lib.length(res)
	if n == 0 {
		return nil
	}
	return unsafe.Slice(c.lib.buffer(res), n)
}

func cString(s string) *byte { return unsafe.StringData(s + "\x00") }

// cStrings makes a C array of C strings that stays put until pin is released.
func cStrings(pin *runtime.Pinner, ss []string) []*byte {
	out := make([]*byte, len(ss)+1)
	for i, s := range ss {
		out[i] = cString(s)
		pin.Pin(out[i])
	}
	return out
}
