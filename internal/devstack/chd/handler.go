package chd

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxStatement bounds a statement's text; data of an INSERT behind it is not bounded.
const maxStatement = 64 << 20

// handler is ClickHouse's HTTP interface over one engine.
type handler struct {
	engine   *engine
	spoolDir string // on the data's own disk
	name     string // host name, as displayName() answers
	zone     string
	location *time.Location
}

// request is one HTTP request, understood.
type request struct {
	session
	id, sql string
	st      statement
	format  string   // of the answer
	params  []string // {name:Type} placeholders: name, value, name, value …
	version uint64   // the client's protocol version, for Native answers
	wait    bool     // answer only when all of it is there
	out     outEncoding
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ping", "/replicas_status": // without the engine: a long insert keeps nobody waiting here
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		_, _ = io.WriteString(w, "Ok.\n")
		return
	case "/":
	default:
		http.Error(w, "There is no handle "+r.URL.Path, http.StatusNotFound)
		return
	}
	if r.Method == http.MethodGet && r.URL.RawQuery == "" {
		_, _ = io.WriteString(w, "Ok.\n")
		return
	}
	body, err := decodeBody(r)
	if err != nil {
		h.fail(w, err)
		return
	}
	req, body, err := h.read(r, body)
	if err != nil {
		h.fail(w, err)
		return
	}
	w.Header().Set("X-ClickHouse-Query-Id", req.id)
	w.Header().Set("X-ClickHouse-Server-Display-Name", h.name)
	w.Header().Set("X-ClickHouse-Timezone", h.zone)
	if req.st.insert {
		err = h.insert(r, w, req, body)
	} else {
		err = h.answer(r, w, req)
	}
	if err != nil {
		h.fail(w, err)
	}
}

// notSettings are the URL parameters that mean something to the interface itself.
var notSettings = []string{"query", "database", "default_format", "query_id", "session_id", "session_timeout", "session_check", "close_session",
	"user", "password", "quota_key", "role", "stacktrace", "compress", "decompress", "buffer_size", "wait_end_of_query", "client_protocol_version"}

// read takes a request apart and returns what is left of the body: the data of
// an INSERT, wherever in the request it stood.
func (h *handler) read(r *http.Request, body io.Reader) (request, io.Reader, error) {
	q := r.URL.Query()
	req := request{id: q.Get("query_id"), sql: q.Get("query"), wait: isOn(q.Get("wait_end_of_query")), out: outEncodingOf(r, q)}
	req.database = firstOf(q.Get("database"), r.Header.Get("X-ClickHouse-Database"))
	if req.id == "" {
		req.id = newQueryID()
	}
	if v := q.Get("client_protocol_version"); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return req, nil, badRequest("client_protocol_version %q is not a number", v)
		}
		req.version = n
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		return req, nil, engineError("Code: 48. DB::Exception: External tables are not supported by the embedded engine. (NOT_IMPLEMENTED)")
	}
	for _, k := range slices.Sorted(mapKeys(q)) {
		switch {
		case slices.Contains(notSettings, k):
		case strings.HasPrefix(k, "param_"):
			req.params = append(req.params, strings.TrimPrefix(k, "param_"), q.Get(k))
		default:
			req.settings = append(req.settings, [2]string{k, q.Get(k)})
		}
	}
	req.st = parse(req.sql)
	if !req.st.insert {
		// No statement that takes data yet: the body is (the rest of) the statement.
		text, err := io.ReadAll(io.LimitReader(body, maxStatement+1))
		if err != nil {
			return req, nil, badRequest("read statement: %v", err)
		}
		if len(text) > maxStatement {
			return req, nil, badRequest("the statement is longer than %d bytes", maxStatement)
		}
		if req.sql != "" && len(text) > 0 {
			req.sql += "\n"
		}
		req.sql += string(text)
		req.st = parse(req.sql)
		body = strings.NewReader("")
	}
	if req.st.insert {
		body = io.MultiReader(strings.NewReader(req.sql[req.st.dataAt:]), body)
		req.sql = req.sql[:req.st.dataAt]
	}
	if strings.TrimSpace(req.sql) == "" {
		return req, nil, engineError("Code: 62. DB::Exception: Empty query. (SYNTAX_ERROR)")
	}
	switch req.st.verb {
	case "SELECT", "WITH", "INSERT", "DESCRIBE", "DESC", "SHOW", "EXISTS":
		req.plain = true
	}
	req.format = firstOf(req.st.format, q.Get("default_format"), r.Header.Get("X-ClickHouse-Format"), "TabSeparated")
	return req, body, nil
}

// insert spools the data and lets the engine read it from the file: its own way
// of taking data behind a statement stops at certain bytes, and a body that
// breaks off must leave nothing behind.
func (h *handler) insert(r *http.Request, w http.ResponseWriter, req request, body io.Reader) error {
	f, err := spool(h.spoolDir, body, req.st.format)
	if err != nil {
		return badRequest("read the data to insert: %v", err)
	}
	defer f.Close()
	return h.engine.do(r.Context(), req.session, func(c *conn) error {
		began := time.Now()
		sum, err := c.run(req.st.from(pathOf(f)), req.format, req.params, nil)
		if err != nil {
			return err
		}
		w.Header().Set("X-ClickHouse-Format", req.format)
		w.Header().Set("X-ClickHouse-Summary", sum.json(time.Since(began)))
		w.WriteHeader(http.StatusOK)
		return nil
	})
}

// answer runs any other statement and streams what it says.
func (h *handler) answer(r *http.Request, w http.ResponseWriter, req request) error {
	return h.engine.do(r.Context(), req.session, func(c *conn) (err error) {
		out := &answer{w: w, req: req, began: time.Now(), enc: newReencoder(req.version, h.location), dir: h.spoolDir}
		defer func() { err = out.finish(err) }()
		if streamable(req.st.verb, req.format) {
			out.sum, err = c.stream(req.sql, req.format, req.params, out.write)
			if !unstreamable(err) {
				return err
			}
		}
		out.sum, err = c.run(req.sql, req.format, req.params, out.write)
		return err
	})
}

// streamable: the engine begins each piece of an answer afresh, so only formats
// without a head and a foot come through that way.
func streamable(verb, format string) bool {
	switch format {
	case "Native", "RowBinary", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "JSONEachRow", "JSONCompactEachRow", "LineAsString", "Null":
	default:
		return false
	}
	switch verb {
	case "SELECT", "WITH", "FROM", "VALUES", "":
		return true
	}
	return false
}

// badRequest is a fault of the request, not of the engine.
func badRequest(format string, args ...any) error {
	return &httpError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

type httpError struct {
	status int
	msg    string
}

func (e *httpError) Error() string { return e.msg }

// fail answers with an error, if nothing was answered before.
func (h *handler) fail(w http.ResponseWriter, err error) {
	if errors.Is(err, errAnswered) {
		return
	}
	w.Header().Del("Content-Encoding")
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	status, msg := http.StatusInternalServerError, err.Error()
	var he *httpError
	var ee engineError
	switch {
	case errors.As(err, &he):
		status, msg = he.status, "Code: 36. DB::Exception: "+he.msg+". (BAD_ARGUMENTS)"
		w.Header().Set("X-ClickHouse-Exception-Code", "36")
	case errors.As(err, &ee):
		code := ee.code()
		w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(code))
		status = statusOf(code)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, msg+"\n")
}

// code is the number in "Code: 60. DB::Exception: …", 1001 (std exception) without.
func (e engineError) code() int {
	rest, ok := strings.CutPrefix(string(e), "Code: ")
	if n, err := strconv.Atoi(rest[:max(0, strings.IndexByte(rest, '.'))]); ok && err == nil {
		return n
	}
	return 1001
}

// statusOf follows the server's table for the codes that are not a 500.
func statusOf(code int) int {
	switch code {
	case 27, 38, 41, 43, 46, 47, 53, 62, 69, 72, 115, 117: // parse, type, argument
		return http.StatusBadRequest
	case 60, 81: // table, database
		return http.StatusNotFound
	case 48:
		return http.StatusNotImplemented
	case 164, 497: // readonly, access
		return http.StatusForbidden
	case 159:
		return http.StatusRequestTimeout
	}
	return http.StatusInternalServerError
}

func mapKeys(q url.Values) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range q {
			if !yield(k) {
				return
			}
		}
	}
}

func firstOf(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}

func isOn(s string) bool { return s == "1" || s == "true" }
